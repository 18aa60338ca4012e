//! The registry of methods: exactly the names of the contract's list (a test compares them).

mod magnitude;
mod wanda;

use super::Method;

/// Every method.
pub const METHODS: &[&dyn Method] = &[&magnitude::Magnitude, &wanda::Wanda];

/// The method of this name.
pub fn method(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().copied().find(|m| m.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_holds_exactly_the_declared_methods() {
        let ours: Vec<_> = METHODS.iter().map(|m| m.name()).collect();
        let declared: Vec<_> = espalier_proto::methods::METHODS.iter().map(|m| m.name).collect();
        assert_eq!(ours, declared);
    }
}
