//! How records of ours lie in the store: borsh, after a byte that numbers the form.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::Fault;

const FORM: u8 = 1;

pub(crate) fn write(record: &impl BorshSerialize) -> Vec<u8> {
    let mut bytes = vec![FORM];
    record
        .serialize(&mut bytes)
        .expect("memory takes what is written to it");
    bytes
}

pub(crate) fn read<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, Fault> {
    let damaged = || Fault::Store {
        detail: "a record cannot be read".to_owned(),
    };
    let (form, rest) = bytes.split_first().ok_or_else(damaged)?;
    if *form != FORM {
        return Err(Fault::StoreFormat);
    }
    T::try_from_slice(rest).map_err(|_| damaged())
}
