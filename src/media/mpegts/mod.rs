//! MPEG transport streams (ISO/IEC 13818-1): packets, tables, time stamps, continuity.
//!
//! Promises: any bytes are read without a panic and in bounded memory; what is not a packet is skipped.
//! Never: reads the disk, or looks into the elementary streams further than their first slice.

mod nal;
mod packet;
mod psi;
mod scan;

pub use packet::{
    PACKET_BYTES, Packet, PacketFinder, PesHeader, Pid, SYNC_BYTE, insert_dts, set_continuity, set_stamps, shift_stamps,
};
pub use psi::{AudioCoding, Codec, Program, ProgramStream, Tables};
pub use scan::{Scan, Stamp, Summary, Track, TsError};

/// Time stamps count modulo this (PTS and DTS have 33 bits).
pub const WRAP_90K: i64 = 1 << 33;

/// The value congruent to `raw` that lies nearest to `reference`, which need not be within 33 bits.
pub fn unwrap_near(raw: u64, reference: i64) -> i64 {
    let ahead = (raw as i64).wrapping_sub(reference).rem_euclid(WRAP_90K);
    reference + if ahead >= WRAP_90K / 2 { ahead - WRAP_90K } else { ahead }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_past_the_wrap_goes_on() {
        assert_eq!(unwrap_near(5, WRAP_90K - 10), WRAP_90K + 5);
        assert_eq!(unwrap_near(WRAP_90K as u64 - 10, WRAP_90K + 5), WRAP_90K - 10);
        assert_eq!(unwrap_near(WRAP_90K as u64 - 10, 5), -10);
        assert_eq!(unwrap_near(7, 7), 7);
    }
}
