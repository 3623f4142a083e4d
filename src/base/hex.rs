//! Numbers as hexadecimal digits in lower case: all digits of a number at once, without a look at each.

/// The digits of a number, the highest first.
pub fn digits(number: u64) -> [u8; 16] {
    (u128::from(half((number >> 32) as u32)) << 64 | u128::from(half(number as u32))).to_be_bytes()
}

/// The digits of a long number, the highest first.
pub fn long_digits(number: u128) -> [u8; 32] {
    let mut all = [b'0'; 32];
    let (high, low) = all.split_at_mut(16);
    high.copy_from_slice(&digits((number >> 64) as u64));
    low.copy_from_slice(&digits(number as u64));
    all
}

/// Eight digits, each in a byte, the first in the highest.
fn half(number: u32) -> u64 {
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte whose digit is a letter: 10 and 6 make 16.
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(number: u64) {
            prop_assert_eq!(digits(number).to_vec(), format!("{number:016x}").into_bytes());
        }

        #[test]
        fn digits_of_a_long_number_are_those_of_the_standard_library(number: u128) {
            prop_assert_eq!(long_digits(number).to_vec(), format!("{number:032x}").into_bytes());
        }
    }

    #[test]
    fn digits_of_each_byte_at_each_place_are_right() {
        for (byte, place) in (0..=255_u64).flat_map(|byte| (0..8).map(move |place| (byte, place))) {
            let number = byte << (8 * place);
            assert_eq!(digits(number), *format!("{number:016x}").as_bytes().first_chunk().expect("16 digits"));
        }
    }
}
