//! Black-box tests of the generators: golden files, and the real Envoy's opinion of them.

#[cfg(test)]
mod ads;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod envoy;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod reflect;
#[cfg(test)]
mod traffic;
