//! The digits: 1,797 handwritten ones of 8 by 8 pixels, carried in the program, and their split.
//!
//! E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998, CC
//! BY 4.0. <https://doi.org/10.24432/C50P49>

/// Pixels of an image.
pub const PIXELS: usize = 64;
/// Kinds of digits.
pub const CLASSES: usize = 10;

const FILE: &str = include_str!("../data/digits.csv");
const BRIGHTEST: f64 = 16.0;
/// Of each class, one image in so many validates.
const VALIDATION_SHARE: usize = 5;

/// A digit and how it was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Row by row, from 0 (paper) to 1 (ink).
    pub pixels: [f64; PIXELS],
    /// The digit, 0 to 9.
    pub label: usize,
}

/// The images, split.
#[derive(Clone, Debug)]
pub struct Digits {
    /// To learn from.
    pub training: Vec<Image>,
    /// To judge by; never learned from.
    pub validation: Vec<Image>,
}

/// A line of the data file cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the digits is not 64 pixels from 0 to 16 and a digit")]
pub struct DamagedLine {
    /// Counted from 1.
    pub line: usize,
}

impl Digits {
    /// Reads the data that the program carries.
    ///
    /// # Errors
    /// If a line of it is damaged.
    pub fn load() -> Result<Self, DamagedLine> {
        let images = parse(FILE)?;
        Ok(Self::split(images))
    }

    /// Every fifth image of each class validates, whatever the seed: runs differ by what they do, not by what they are
    /// judged by.
    fn split(images: Vec<Image>) -> Self {
        let mut seen = [0_usize; CLASSES];
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for image in images {
            let nth = seen[image.label];
            seen[image.label] += 1;
            let side = if nth % VALIDATION_SHARE == 0 { &mut validation } else { &mut training };
            side.push(image);
        }
        Self { training, validation }
    }
}

fn parse(text: &str) -> Result<Vec<Image>, DamagedLine> {
    text.lines().enumerate().map(|(index, line)| parse_line(line).ok_or(DamagedLine { line: index + 1 })).collect()
}

fn parse_line(line: &str) -> Option<Image> {
    let mut values = line.split(',').map(str::parse::<u8>);
    let mut pixels = [0.0; PIXELS];
    for pixel in &mut pixels {
        let ink = f64::from(values.next()?.ok()?) / BRIGHTEST;
        *pixel = (ink <= 1.0).then_some(ink)?;
    }
    let label = usize::from(values.next()?.ok()?);
    (label < CLASSES && values.next().is_none()).then_some(Image { pixels, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_counts(images: &[Image]) -> [usize; CLASSES] {
        let mut counts = [0; CLASSES];
        for image in images {
            counts[image.label] += 1;
        }
        counts
    }

    #[test]
    fn the_file_has_the_images_of_the_source() {
        let images = parse(FILE).unwrap();
        assert_eq!(images.len(), 1_797);
        assert_eq!(class_counts(&images), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn the_split_keeps_every_image_once_and_every_class_on_both_sides() {
        let digits = Digits::load().unwrap();
        assert_eq!((digits.training.len(), digits.validation.len()), (1_433, 364));
        assert_eq!(class_counts(&digits.validation), [36, 37, 36, 37, 37, 37, 37, 36, 35, 36]);
    }

    #[test]
    fn pixels_are_scaled_to_the_unit_interval() {
        let images = parse(FILE).unwrap();
        let brightest = images.iter().flat_map(|image| image.pixels).fold(0.0, f64::max);
        assert_eq!(brightest.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_damaged_line_is_named() {
        let good = FILE.lines().next().unwrap();
        for bad in ["", "1,2,3", &format!("{good},1"), &good.replacen('0', "17", 1), &good.replacen('0', "x", 1)] {
            assert_eq!(parse(&format!("{good}\n{bad}\n{good}")), Err(DamagedLine { line: 2 }), "{bad:?}");
        }
    }
}
