//! Blurhash: a picture's colours as some thirty characters, by the published algorithm (blurha.sh).

use std::f32::consts::PI;

use image::RgbImage;

const DIGITS: &[u8; 83] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

/// Encodes a small picture with so many waves across and down (1 to 9 each).
pub(super) fn encode(picture: &RgbImage, across: u32, down: u32) -> String {
    let mut factors = Vec::new();
    for y in 0..down {
        for x in 0..across {
            factors.push(factor(picture, x, y));
        }
    }
    let (mean, waves) = factors.split_first().map_or(([0.0; 3], &[][..]), |(mean, waves)| (*mean, waves));
    let mut hash = String::with_capacity(4 + 2 * factors.len());
    push(&mut hash, across - 1 + (down - 1) * 9, 1);
    let greatest = waves.iter().flatten().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
    let scale = bounded((greatest * 166.0 - 0.5).floor(), 82);
    push(&mut hash, scale, 1);
    push(&mut hash, to_srgb(mean[0]) << 16 | to_srgb(mean[1]) << 8 | to_srgb(mean[2]), 4);
    let most = (scale as f32 + 1.0) / 166.0;
    for wave in waves {
        let [r, g, b] = wave.map(|value| {
            let value = value / most;
            bounded((value.abs().sqrt().copysign(value) * 9.0 + 9.5).floor(), 18)
        });
        push(&mut hash, (r * 19 + g) * 19 + b, 2);
    }
    hash
}

/// How much of one wave is in the picture, in linear light.
fn factor(picture: &RgbImage, across: u32, down: u32) -> [f32; 3] {
    let (width, height) = picture.dimensions();
    let mut sum = [0.0_f32; 3];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let basis =
            (PI * across as f32 * x as f32 / width as f32).cos() * (PI * down as f32 * y as f32 / height as f32).cos();
        for (sum, value) in sum.iter_mut().zip(pixel.0) {
            *sum += basis * to_linear(value);
        }
    }
    let norm = if across == 0 && down == 0 { 1.0 } else { 2.0 };
    sum.map(|value| value * norm / (width * height).max(1) as f32)
}

fn push(hash: &mut String, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = value / 83_u32.pow(place) % 83;
        hash.push(char::from(DIGITS[digit as usize]));
    }
}

/// A whole number between 0 and `most`; not a number is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn bounded(value: f32, most: u32) -> u32 {
    value.clamp(0.0, most as f32) as u32
}

/// IEC 61966-2-1.
fn to_linear(value: u8) -> f32 {
    let value = f32::from(value) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn to_srgb(value: f32) -> u32 {
    let value = value.clamp(0.0, 1.0);
    let value = if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
    bounded((value * 255.0 + 0.5).floor(), 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_is_its_own_mean() {
        // 1 wave: "00" and the mean in four digits of base 83; white is 16777215.
        let white = RgbImage::from_pixel(8, 8, image::Rgb([255; 3]));
        assert_eq!(encode(&white, 1, 1), "00TSUA");
        let black = RgbImage::from_pixel(8, 8, image::Rgb([0; 3]));
        assert_eq!(encode(&black, 1, 1), "000000");
    }

    #[test]
    fn light_from_the_left_is_seen_in_the_first_wave() {
        let picture = RgbImage::from_fn(32, 32, |x, _| image::Rgb([if x < 16 { 255 } else { 0 }; 3]));
        let hash = encode(&picture, 4, 3);
        assert_eq!(hash.len(), 4 + 2 * 12);
        assert_eq!(hash.as_bytes()[0], DIGITS[3 + 2 * 9]);
        let mirrored = encode(&image::imageops::flip_horizontal(&picture), 4, 3);
        assert_eq!(hash[..6], mirrored[..6]);
        assert_ne!(hash[6..8], mirrored[6..8]);
    }
}
