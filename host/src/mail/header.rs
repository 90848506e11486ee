//! Header fields (RFC 5322 §2.2): names, values, folding, encoded words (RFC 2047), address lists.
