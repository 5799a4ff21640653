//! A frame as the picture of a video: cropped, scaled, under a template.
//!
//! Promises: what does not fit is refused before ffmpeg sees it.

use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;

use super::CutError;
use super::args::Args;
use super::ffmpeg::Ffmpeg;
use super::still::whole_picture;
use crate::png;

/// Larger templates are a mistake.
const MAX_TEMPLATE_PIXELS: u32 = 8192;

/// A rectangle in whole pixels, from its top left corner on. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "[u32; 4]")]
pub struct Area {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

/// What a template by name may say of itself, as JSON: `{"crop": [LEFT, TOP, RIGHT, BOTTOM], "location": […]}`, both optional;
/// what else stands there is for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct TemplateAbout {
    #[serde(default)]
    pub crop: Option<Area>,
    #[serde(default)]
    pub location: Option<Area>,
}

impl TemplateAbout {
    pub fn parse(json: &[u8]) -> Result<Self, BadFraming> {
        serde_json::from_slice(json).map_err(|error| BadFraming::About { why: error.to_string() })
    }
}

/// A text is no rectangle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write it as LEFT,TOP,RIGHT,BOTTOM in pixels")]
pub struct BadArea;

impl FromStr for Area {
    type Err = BadArea;

    fn from_str(text: &str) -> Result<Self, BadArea> {
        let sides: Vec<u32> = text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| BadArea)?;
        <[u32; 4]>::try_from(sides).map_err(|_| BadArea)?.try_into()
    }
}

/// Left, top, right, bottom.
impl TryFrom<[u32; 4]> for Area {
    type Error = BadArea;

    fn try_from([left, top, right, bottom]: [u32; 4]) -> Result<Self, BadArea> {
        if left < right && top < bottom { Ok(Self { left, top, right, bottom }) } else { Err(BadArea) }
    }
}

impl Area {
    fn all_of((right, bottom): (u32, u32)) -> Self {
        Self { left: 0, top: 0, right, bottom }
    }

    fn size(self) -> (u32, u32) {
        (self.right - self.left, self.bottom - self.top)
    }

    fn fits(self, (width, height): (u32, u32)) -> bool {
        self.right <= width && self.bottom <= height
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Default)]
pub struct Framing {
    /// What is shown of the frame; without it, all.
    pub crop: Option<Area>,
    /// Where it is shown; without it, on all of the template. Where there is no template, only its size matters.
    pub location: Option<Area>,
    /// A PNG that lies over it, and shows it where it is transparent.
    pub template: Option<Bytes>,
}

/// Why a frame cannot be framed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFraming {
    #[error("what is said of the template cannot be read: {why}")]
    About { why: String },
    #[error("the template is no PNG")]
    NoPng,
    #[error("the template, or the place for the frame, is larger than {MAX_TEMPLATE_PIXELS} pixels")]
    TooLarge,
    #[error("the crop lies outside of the frame, which has {width} x {height} pixels")]
    Crop { width: u32, height: u32 },
    #[error("the location lies outside of the template, which has {width} x {height} pixels")]
    Location { width: u32, height: u32 },
}

/// Makes a PNG of `frame`, which is one.
pub async fn thumbnail(ffmpeg: &Ffmpeg, frame: Bytes, framing: Framing) -> Result<Bytes, CutError> {
    let plan = Composition::new(&frame, &framing)?;
    let seat = ffmpeg.seat().await?;
    let input = |picture: Bytes| stream::iter([Ok(picture)]).boxed();
    let running = match framing.template {
        Some(template) => seat.run_with_second(|path| plan.args(Some(path)), input(frame), input(template))?,
        None => seat.run(plan.args(None), input(frame))?,
    };
    whole_picture(running).await?.ok_or(CutError::NoFrames)
}

/// All of it checked.
#[derive(Debug, PartialEq, Eq)]
struct Composition {
    crop: Area,
    location: Area,
    /// Of the template.
    canvas: (u32, u32),
}

impl Composition {
    fn new(frame: &[u8], framing: &Framing) -> Result<Self, BadFraming> {
        let frame = png::size_of(frame).expect("a still is a PNG");
        let crop = framing.crop.unwrap_or(Area::all_of(frame));
        if !crop.fits(frame) {
            return Err(BadFraming::Crop { width: frame.0, height: frame.1 });
        }
        let template = framing.template.as_deref().map(|bytes| png::size_of(bytes).ok_or(BadFraming::NoPng));
        let (canvas, location) = match template.transpose()? {
            Some(canvas) => (canvas, framing.location.unwrap_or(Area::all_of(canvas))),
            None => {
                let size = framing.location.map_or(crop.size(), Area::size);
                (size, Area::all_of(size))
            }
        };
        if canvas.0.max(canvas.1) > MAX_TEMPLATE_PIXELS {
            return Err(BadFraming::TooLarge);
        }
        if !location.fits(canvas) {
            return Err(BadFraming::Location { width: canvas.0, height: canvas.1 });
        }
        Ok(Self { crop, location, canvas })
    }

    fn args(&self, template: Option<&Path>) -> Vec<OsString> {
        let Self { crop, location, canvas } = self;
        let ((from_width, from_height), (width, height)) = (crop.size(), location.size());
        let framed = format!(
            "[0:v]crop={from_width}:{from_height}:{}:{}:exact=1,scale={width}:{height}:flags=lanczos,setsar=1,format=rgba",
            crop.left, crop.top
        );
        let mut args = Args::default();
        args.words("-f png_pipe -i -");
        let graph = match template {
            None => format!("{framed}[v]"),
            Some(template) => {
                args.words("-f png_pipe -i").path(template);
                format!(
                    "{framed},pad={}:{}:{}:{}:color=black@0[frame];[1:v]format=rgba[template];\
                     [frame][template]overlay=0:0:format=rgb,format=rgba[v]",
                    canvas.0, canvas.1, location.left, location.top
                )
            }
        };
        args.option("-filter_complex", graph).words("-map [v] -frames:v 1 -c:v png -f image2pipe -");
        args.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_four_numbers_and_not_empty() {
        assert_eq!("1,2,30,40".parse(), Ok(Area { left: 1, top: 2, right: 30, bottom: 40 }));
        for bad in ["", "1,2,3", "1,2,3,4,5", "3,2,3,4", "1,4,3,4", "-1,2,3,4", "a,b,c,d", "1.5,2,3,4"] {
            assert_eq!(bad.parse::<Area>(), Err(BadArea), "{bad}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let picture =
            |width, height| Bytes::from(png::write(width, height, &[[0; 4]], &vec![0; (width * height) as usize]));
        let area = |text: &str| Some(text.parse().unwrap());
        let refused = |framing: Framing| Composition::new(&picture(100, 50), &framing).map(|plan| plan.canvas);
        let template = Some(picture(40, 30));
        assert_eq!(refused(Framing::default()), Ok((100, 50)));
        assert_eq!(refused(Framing { location: area("10,10,30,20"), ..Framing::default() }), Ok((20, 10)));
        assert_eq!(refused(Framing { template: template.clone(), ..Framing::default() }), Ok((40, 30)));
        for (framing, why) in [
            (Framing { crop: area("0,0,101,50"), ..Framing::default() }, BadFraming::Crop { width: 100, height: 50 }),
            (
                Framing { template, location: area("0,0,40,31"), ..Framing::default() },
                BadFraming::Location { width: 40, height: 30 },
            ),
            (Framing { location: area("0,0,9000,1"), ..Framing::default() }, BadFraming::TooLarge),
            (Framing { template: Some(Bytes::from_static(b"GIF89a")), ..Framing::default() }, BadFraming::NoPng),
        ] {
            assert_eq!(refused(framing), Err(why));
        }
    }
}
