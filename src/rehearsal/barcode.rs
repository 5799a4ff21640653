//! The number on each frame: how it is drawn, and how it is read back from any video.
//!
//! A strip along the top tenth of the picture has 32 cells: white, black, 24 bits of the number (lowest first), 4 bits
//! of parity, black, white. Parity bit c is lit when an odd number of the bits k with k mod 4 = c are lit.
//!
//! Promises: a number is returned only where markers and parity agree; frames come in the order of presentation.
//! Never: guesses a frame that it cannot read.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::{RehearsalError, disk, ffmpeg};

/// Numbers start over after this many frames (155 hours at 30 frames a second).
pub const NUMBERS: u32 = 1 << BITS;

const BITS: usize = 24;
const PARITY_BITS: usize = 4;
const CELLS: usize = 32;
const FIRST_BIT: usize = 2;
const FIRST_PARITY: usize = FIRST_BIT + BITS;
const BLACK_MARKERS: [usize; 2] = [1, 30];
const WHITE_MARKERS: [usize; 2] = [0, 31];
/// The strip is this part of the picture's height.
const HEIGHT_DIVISOR: u32 = 10;

/// Each cell is read as this many samples, of which the two in the middle count: cells bleed into each other.
const SAMPLES_PER_CELL: usize = 4;
const SAMPLE_ROWS: usize = 2;
const FRAME_BYTES: usize = CELLS * SAMPLES_PER_CELL * SAMPLE_ROWS;
/// Luma (0 to 255) between these is neither black nor white, so the frame is not read.
const BLACK_BELOW: u32 = 96;
const WHITE_ABOVE: u32 = 160;

/// The frame numbers of a media file (its first video stream), in the order of presentation.
///
/// # Errors
/// `Unreadable` for the first frame without a number, `NoFrames` where there is no video.
pub fn read_file(path: &Path) -> Result<Vec<u32>, RehearsalError> {
    all_readable(read_each(path)?)
}

/// Like [`read_file`], for bytes in memory: a segment, or an initialisation section with segments after it.
pub fn read_bytes(bytes: &[u8]) -> Result<Vec<u32>, RehearsalError> {
    // A file rather than a pipe: an MP4 may have its index at the end.
    let mut file = tempfile::NamedTempFile::new().map_err(disk("create a file in", &std::env::temp_dir()))?;
    file.write_all(bytes).map_err(disk("write", file.path()))?;
    read_file(file.path())
}

/// Like [`read_file`], with `None` for frames that cannot be read, such as those of a cross-fade.
pub fn read_each(path: &Path) -> Result<Vec<Option<u32>>, RehearsalError> {
    let samples = ffmpeg::run("read the video", &sampling_arguments(path), None)?;
    if samples.is_empty() {
        return Err(RehearsalError::NoFrames);
    }
    Ok(samples.chunks_exact(FRAME_BYTES).map(decode).collect())
}

fn all_readable(numbers: Vec<Option<u32>>) -> Result<Vec<u32>, RehearsalError> {
    let checked = numbers.into_iter().enumerate();
    checked.map(|(index, number)| number.ok_or(RehearsalError::Unreadable { index })).collect()
}

/// Crops to the middle of the strip before anything else, so that reading costs little more than decoding.
fn sampling_arguments(path: &Path) -> Vec<OsString> {
    let filter = format!(
        "format=gray,crop=iw:ih/{}:0:ih/{},scale={}:{SAMPLE_ROWS}:flags=area",
        HEIGHT_DIVISOR * 2,
        HEIGHT_DIVISOR * 4,
        CELLS * SAMPLES_PER_CELL,
    );
    let mut input = OsString::from("file:");
    input.push(path);
    let mut arguments: Vec<OsString> = vec!["-i".into(), input];
    // `-vsync 0` passes every decoded frame once; its newer spelling is unknown to ffmpeg 4.
    let rest = ["-map", "0:v:0", "-vf", &filter, "-vsync", "0", "-pix_fmt", "gray", "-f", "rawvideo", "pipe:1"];
    arguments.extend(rest.map(OsString::from));
    arguments
}

fn decode(samples: &[u8]) -> Option<u32> {
    let lit: Vec<bool> = (0..CELLS).map(|cell| is_lit(samples, cell)).collect::<Option<_>>()?;
    if WHITE_MARKERS.iter().any(|cell| !lit[*cell]) || BLACK_MARKERS.iter().any(|cell| lit[*cell]) {
        return None;
    }
    let number = (0..BITS).fold(0, |number, bit| number | u32::from(lit[FIRST_BIT + bit]) << bit);
    let parity_holds = (0..PARITY_BITS).all(|class| lit[FIRST_PARITY + class] == parity(number, class));
    parity_holds.then_some(number)
}

fn parity(number: u32, class: usize) -> bool {
    (class..BITS).step_by(PARITY_BITS).filter(|bit| number >> bit & 1 == 1).count() % 2 == 1
}

/// Whether a cell is white; `None` where it is neither white nor black.
fn is_lit(samples: &[u8], cell: usize) -> Option<bool> {
    let row_bytes = CELLS * SAMPLES_PER_CELL;
    let middle = cell * SAMPLES_PER_CELL + 1;
    let sum: u32 = (0..SAMPLE_ROWS)
        .flat_map(|row| [row * row_bytes + middle, row * row_bytes + middle + 1])
        .map(|at| u32::from(samples[at]))
        .sum();
    match sum / (2 * SAMPLE_ROWS as u32) {
        luma if luma < BLACK_BELOW => Some(false),
        luma if luma > WHITE_ABOVE => Some(true),
        _ => None,
    }
}

/// The chain of ffmpeg filters that draws the strip. It must come straight after the picture's source, because a
/// filter counts the frames that reach it.
pub(super) fn drawing_filters() -> String {
    let mut filters = format!("drawbox=x=0:y=0:w=iw:h=ih/{HEIGHT_DIVISOR}:color=black:t=fill");
    for cell in WHITE_MARKERS {
        filters.push_str(&white_cell(cell));
    }
    for bit in 0..BITS {
        let _ = write!(filters, "{}:enable='{}'", white_cell(FIRST_BIT + bit), bit_expression(bit));
    }
    for class in 0..PARITY_BITS {
        let bits: Vec<String> = (class..BITS).step_by(PARITY_BITS).map(bit_expression).collect();
        let _ = write!(filters, "{}:enable='mod({},2)'", white_cell(FIRST_PARITY + class), bits.join("+"));
    }
    filters
}

/// One where the bit of the frame's number `n` is set.
fn bit_expression(bit: usize) -> String {
    format!("mod(floor(n/{}),2)", 1u32 << bit)
}

fn white_cell(cell: usize) -> String {
    format!(",drawbox=x=iw*{cell}/{CELLS}:y=0:w=iw/{CELLS}:h=ih/{HEIGHT_DIVISOR}:color=white:t=fill")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of a perfect picture of `number`.
    fn picture(number: u32) -> Vec<u8> {
        let lit = |cell: usize| match cell {
            0 | 31 => true,
            1 | 30 => false,
            FIRST_BIT..FIRST_PARITY => number >> (cell - FIRST_BIT) & 1 == 1,
            _ => parity(number, cell - FIRST_PARITY),
        };
        let row = || (0..CELLS).flat_map(|cell| [if lit(cell) { 235 } else { 16 }; SAMPLES_PER_CELL]);
        (0..SAMPLE_ROWS).flat_map(|_| row()).collect()
    }

    fn set_cell(samples: &mut [u8], cell: usize, luma: u8) {
        for row in 0..SAMPLE_ROWS {
            let from = (row * CELLS + cell) * SAMPLES_PER_CELL;
            samples[from..from + SAMPLES_PER_CELL].fill(luma);
        }
    }

    #[test]
    fn a_number_survives_its_picture() {
        for number in [0, 1, 2, 0x55_5555, 0xAA_AAAA, 1_234_567, NUMBERS - 1] {
            assert_eq!(decode(&picture(number)), Some(number));
        }
    }

    #[test]
    fn one_wrong_or_grey_cell_is_never_a_number() {
        for number in [0, 12_345, NUMBERS - 1] {
            for cell in 0..CELLS {
                let good = picture(number);
                let flipped = if good[cell * SAMPLES_PER_CELL] > 128 { 16 } else { 235 };
                for luma in [flipped, 128] {
                    let mut spoilt = good.clone();
                    set_cell(&mut spoilt, cell, luma);
                    assert_eq!(decode(&spoilt), None, "cell {cell} of {number}");
                }
            }
        }
    }
}
