//! A map of a stream as a picture.

use super::{Among, HOUR_MICROS, StreamCoverage};
use crate::model::{Hour, Span};

/// A pixel is two seconds, a column ten minutes.
const PIXEL_MICROS: i64 = 2_000_000;
const PIXELS_IN_AN_HOUR: usize = (HOUR_MICROS / PIXEL_MICROS) as usize;
const ROWS: usize = 300;

/// Two seconds of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pixel {
    /// Some of it is missing.
    Missing,
    /// All of it is there, in full segments.
    Shown,
    /// All of it is there, some of it only in segments that are `suspect` or `partial`.
    Unsure,
    /// Some of it is missing, and a tombstone hides some.
    Hidden,
    /// Some of it is missing, and nothing was meant to be recorded.
    Off,
}

/// A picture of a stream: downwards ten minutes, then the next column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// In order of time.
    pub(super) pixels: Vec<Pixel>,
}

impl Map {
    /// Red, green, blue and opacity of each pixel by its number. The first three are those that crews know.
    pub const PALETTE: [[u8; 4]; 5] =
        [[255, 255, 255, 255], [31, 119, 180, 255], [255, 127, 14, 255], [214, 39, 40, 255], [127, 127, 127, 255]];
    pub const HEIGHT: u32 = ROWS as u32;

    pub fn width(&self) -> u32 {
        (self.pixels.len() / ROWS) as u32
    }

    /// Places in the palette, row by row.
    pub fn rows(&self) -> Vec<u8> {
        let columns = self.pixels.len() / ROWS;
        let at = |row: usize, column: usize| self.pixels[column * ROWS + row] as u8;
        (0..ROWS).flat_map(|row| (0..columns).map(move |column| at(row, column))).collect()
    }
}

impl StreamCoverage {
    /// The map of these hours, both included. `off` is when nothing was meant to be recorded.
    pub fn map(&self, first: Hour, last: Hour, off: &[Span]) -> Map {
        let hour_count = usize::try_from(last.start().micros_since(first.start()) / HOUR_MICROS).unwrap_or(0) + 1;
        let mut pixels = vec![Pixel::Shown; hour_count * PIXELS_IN_AN_HOUR];
        let Ok(whole) = Span::new(first.start(), first.start().plus_micros(hour_count as i64 * HOUR_MICROS)) else {
            return Map { pixels };
        };
        let mut paint = |span: &Span, paint: &dyn Fn(Pixel) -> Pixel| {
            let end = pixels.len() as i64;
            let from = span.start().micros_since(whole.start()).div_euclid(PIXEL_MICROS).clamp(0, end);
            let to = (span.end().micros_since(whole.start()) + PIXEL_MICROS - 1).div_euclid(PIXEL_MICROS).clamp(0, end);
            for pixel in pixels.get_mut(from as usize..to as usize).unwrap_or_default() {
                *pixel = paint(*pixel);
            }
        };
        let hours = || self.hours.range(first.previous()..=last).map(|(_, hour)| hour);
        for hour in hours() {
            hour.unsure.iter().for_each(|span| paint(span, &|_| Pixel::Unsure));
        }
        // Whatever is missing of a pixel, all of it shows that.
        self.holes(whole, Among::Shown).iter().for_each(|hole| paint(hole, &|_| Pixel::Missing));
        let unless_shown =
            |instead: Pixel| move |pixel| if matches!(pixel, Pixel::Missing | Pixel::Off) { instead } else { pixel };
        off.iter().for_each(|span| paint(span, &unless_shown(Pixel::Off)));
        for hour in hours() {
            hour.hidden.iter().for_each(|span| paint(span, &unless_shown(Pixel::Hidden)));
        }
        Map { pixels }
    }
}
