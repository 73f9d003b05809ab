//! Bucketing v1: a public contract.
//!
//! `bucket = (u128(XXH3_64(salt ++ 0x1F ++ key)) * 1_000_000) >> 64`, seed 0, UTF-8 bytes. Integers only; every
//! replica computes the same bucket without communication. Variant `i` owns `[start_i, start_i + weight_i)`: when the
//! only variant's weight grows, no caller leaves it.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::route::Bucket;

/// The number of buckets.
pub const BUCKETS: u32 = 1_000_000;

/// A salt and a key of at most this many bytes together are joined and hashed on the stack.
const INLINE_BYTES: usize = 512;
/// Most of them have at most this many, and a shorter buffer is cleared sooner.
const SHORT_BYTES: usize = 96;

/// A salt with its separator, ready for hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salt(Box<[u8]>);

impl Salt {
    /// The salt of a route's or rollout's name, or one given by `salt`.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        // The separator keeps salt `a` with key `bc` and salt `ab` with key `c` apart.
        Self([salt.as_bytes(), b"\x1f"].concat().into())
    }

    /// The salt of a target's weight: `salt 0x1F "target" 0x1F segment`. A target without a segment has the empty name.
    /// The name is used instead of an index, so that a target keeps its callers when targets before it are added or
    /// removed.
    #[must_use]
    pub fn target(salt: &str, segment: &str) -> Self {
        Self([salt.as_bytes(), b"\x1ftarget\x1f", segment.as_bytes(), b"\x1f"].concat().into())
    }

    /// The salt by which a shadow samples callers: `salt 0x1F "shadow"`.
    #[must_use]
    pub fn shadow(salt: &str) -> Self {
        Self([salt.as_bytes(), b"\x1fshadow\x1f"].concat().into())
    }

    /// The salt as text, with the separators of a target's salt.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0[..self.0.len() - 1]).unwrap_or("")
    }

    /// The bucket of a key. Allocates nothing.
    #[must_use]
    pub fn bucket(&self, key: &str) -> Bucket {
        Bucket::from_hash(self.hash(key.as_bytes()))
    }

    /// `XXH3_64` of salt, separator and key.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        let len = self.0.len() + key.len();
        if len <= SHORT_BYTES {
            return self.joined_hash::<SHORT_BYTES>(key);
        }
        if len <= INLINE_BYTES {
            return self.joined_hash::<INLINE_BYTES>(key);
        }
        let mut hasher = Xxh3::new();
        hasher.update(&self.0);
        hasher.update(key);
        hasher.digest()
    }

    /// The hash of at most `N` bytes. One contiguous input: XXH3's one-shot function is faster than its stream for short
    /// inputs.
    #[inline]
    fn joined_hash<const N: usize>(&self, key: &[u8]) -> u64 {
        let (salt_len, len) = (self.0.len(), self.0.len() + key.len());
        debug_assert!(len <= N, "the caller compares the length");
        let mut joined = [0; N];
        joined[..salt_len].copy_from_slice(&self.0);
        joined[salt_len..len].copy_from_slice(key);
        xxh3_64(&joined[..len])
    }
}

impl Bucket {
    /// The bucket of a uniform 64-bit number.
    #[must_use]
    pub(super) fn from_hash(hash: u64) -> Self {
        // Multiply and shift maps the hash to a bucket without the bias of a remainder.
        let scaled = (u128::from(hash) * u128::from(BUCKETS)) >> 64;
        debug_assert!(scaled < u128::from(BUCKETS), "a hash below 2^64 has a bucket below {BUCKETS}");
        Self(u32::try_from(scaled).unwrap_or(BUCKETS - 1)) // cannot fail: below BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_are_unchanged() {
        let x = |n: usize| "x".repeat(n);
        let rows: [(&str, String, u64, u32); 22] = [
            ("", String::new(), 0x0508_7bbe_d866_d0de, 19_660),
            ("", "a".into(), 0xa760_fff2_02fb_2470, 653_823),
            ("checkout", String::new(), 0xbd23_b6bb_7aee_f6ca, 738_826),
            ("checkout", "acme".into(), 0xc08f_8d7f_fd40_54d9, 752_190),
            ("checkout", "globex".into(), 0xa390_6338_3f38_df88, 638_921),
            ("checkout", "user-1".into(), 0x7823_a247_4bcf_fd62, 469_293),
            ("checkout", "user-2".into(), 0x9989_c7df_5c54_54ee, 599_758),
            ("checkout-v2", "acme".into(), 0x86a5_aeb7_3f0e_269c, 525_965),
            ("checkout-v2", "user-1".into(), 0xe8af_f97b_aa28_f84a, 908_935),
            ("search-ranker-1", "0190f3c2-7b1e-7cc0-9f7e-2f6f1c1f7a11".into(), 0x581c_84de_bcfa_3442, 344_185),
            ("search-ranker-1", "Ünïcode-κλειδί-鍵".into(), 0xb9f3_1fbd_34dc_65cf, 726_366),
            ("s", x(16), 0x5fbe_baca_b015_1266, 374_004),
            ("s", x(17), 0xf01d_6863_66e8_615c, 937_948),
            ("s", x(128), 0x9ba9_dc6d_a10b_0c38, 608_060),
            ("s", x(129), 0x9001_f3e9_447f_509e, 562_529),
            ("s", x(240), 0x93b4_1836_3ba1_8742, 576_966),
            ("s", x(241), 0xd6c4_0085_8e44_5082, 838_928),
            ("s", x(1024), 0x5a6a_9d02_526d_35a5, 353_189),
            ("s", "127.0.0.1".into(), 0xdd14_03be_4a1b_8cbd, 863_586),
            ("s", "2001:db8::1".into(), 0x21ff_a0e7_d6c8_6a4e, 132_806),
            ("a", "b\u{1f}c".into(), 0x1989_2fa0_5f91_24d5, 99_749),
            ("a\u{1f}b", "c".into(), 0x1989_2fa0_5f91_24d5, 99_749),
        ];
        for (salt, key, hash, bucket) in rows {
            let salt = Salt::new(salt);
            assert_eq!(salt.hash(key.as_bytes()), hash, "hash of {:?} {key:?}", salt.text());
            assert_eq!(salt.bucket(&key).number(), bucket, "bucket of {:?} {key:?}", salt.text());
        }
    }

    #[test]
    fn stream_and_stack_hashes_agree_around_the_limit() {
        let salt = Salt::new("border");
        for len in INLINE_BYTES - 20..INLINE_BYTES + 20 {
            let key = "k".repeat(len);
            assert_eq!(salt.hash(key.as_bytes()), xxh3_64(format!("border\u{1f}{key}").as_bytes()), "{len}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_hash_have_buckets() {
        assert_eq!(Bucket::from_hash(0).number(), 0);
        assert_eq!(Bucket::from_hash(u64::MAX).number(), 999_999);
    }

    #[test]
    fn a_target_has_its_own_salt() {
        assert_eq!(Salt::target("checkout", "beta").text(), "checkout\u{1f}target\u{1f}beta");
        assert_eq!(Salt::target("r", "s"), Salt::new("r\u{1f}target\u{1f}s"));
        assert_ne!(Salt::target("r", "").bucket("k"), Salt::new("r").bucket("k"));
    }
}
