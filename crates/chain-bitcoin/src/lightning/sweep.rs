//! Where LDK's sweeper of closed channels keeps what it has to fetch.

use std::sync::Arc;

use lightning::io::{Error, ErrorKind};
use lightning::util::persist::KVStoreSync;

use super::store::Store;

/// Puts the sweeper's one value into the node's store, in order with all else.
///
/// A write is durable with the next sync, and so is the removal of the event that caused it, which comes later in the
/// same order: no output is lost in between.
pub(crate) struct SweeperStore(pub(crate) Arc<Store>);

pub(crate) const SWEEPER: &[u8] = b"sweeper";

impl KVStoreSync for SweeperStore {
    fn read(&self, _primary: &str, _secondary: &str, _key: &str) -> Result<Vec<u8>, Error> {
        match self.0.read(SWEEPER) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Error::new(ErrorKind::NotFound, "nothing to sweep yet")),
            Err(fault) => Err(Error::new(ErrorKind::Other, fault.to_string())),
        }
    }

    fn write(
        &self,
        _primary: &str,
        _secondary: &str,
        _key: &str,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        self.0.put(SWEEPER.to_vec(), value);
        Ok(())
    }

    fn remove(
        &self,
        _primary: &str,
        _secondary: &str,
        _key: &str,
        _lazy: bool,
    ) -> Result<(), Error> {
        self.0.write([(SWEEPER.to_vec(), None)]);
        Ok(())
    }

    fn list(&self, _primary: &str, _secondary: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}
