//! Amounts, ratios, timestamps and typed ids with checked arithmetic.
