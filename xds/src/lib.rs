//! Higuma: xds.
