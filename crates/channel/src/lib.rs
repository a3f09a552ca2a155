//! Lanes, vouchers, net-offs, notices and every digest that is signed.
