//! Octets that look random, and are the same whenever the same plugin sees the same message and recipient.
//!
//! That is what makes a second attempt send the same octets. They are no source of keys or secrets.

/// The most that the host gives at once, in octets.
#[cfg(target_arch = "wasm32")]
const LARGEST: usize = 4096;

/// Fills `buffer`.
pub fn fill(buffer: &mut [u8]) {
    #[cfg(target_arch = "wasm32")]
    for chunk in buffer.chunks_mut(LARGEST) {
        let length = u32::try_from(chunk.len()).expect("a chunk has at most 4,096 octets");
        let octets = crate::bindings::imports::tubepost::mail::random::get(length);
        for (place, octet) in chunk.iter_mut().zip(octets) {
            *place = octet;
        }
    }
    // Off wasm32 a test wants the same octets each time: a linear congruential generator with Knuth's constants.
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for place in buffer {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *place = state.to_be_bytes()[0];
        }
    }
}

/// The backend of the `getrandom` crate, 0.3 and 0.4 alike, when it is compiled with `--cfg getrandom_backend="custom"`.
#[cfg(all(target_arch = "wasm32", feature = "getrandom"))]
#[allow(unsafe_code, reason = "getrandom looks for a symbol of this name and signature")]
mod backend {
    /// # Safety
    /// `place` must be valid for writes of `length` octets, which getrandom guarantees.
    #[unsafe(no_mangle)]
    unsafe extern "Rust" fn __getrandom_v03_custom(place: *mut u8, length: usize) -> Result<(), getrandom::Error> {
        if length > 0 {
            // SAFETY: the caller gives a buffer of this length; zeroing it first makes it initialised for the slice.
            let buffer = unsafe {
                std::ptr::write_bytes(place, 0, length);
                std::slice::from_raw_parts_mut(place, length)
            };
            super::fill(buffer);
        }
        Ok(())
    }
}
