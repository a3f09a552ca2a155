//! Prices, spreads, guards and LP share maths as pure integer functions.
