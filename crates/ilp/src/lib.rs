//! OER, ILPv4, BTP and ILDCP codecs on borrowed bytes.
