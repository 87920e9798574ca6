//! Curves as text: a chart an output, drawn with the dots of braille, or with a mark a curve where there are several.

use std::fmt::Write as _;

use super::{
    Preview,
    columns::{Column, Output, columns},
};
use crate::cli::output;
use lrs_model::number::exact;

/// Lines of a chart, without its axis.
const HEIGHT: usize = 15;
/// The least width of a chart within its frame, in characters, however narrow the terminal is.
const MIN_WIDTH: usize = 16;
/// The marks of several curves. If there are more curves than marks, the marks repeat.
const MARKS: [char; 8] = ['*', 'o', '+', 'x', '#', '%', '@', '&'];
/// The title of the horizontal axis.
const TIME: &str = "step";
/// Dots of a braille character, across and down.
const BRAILLE: (usize, usize) = (2, 4);

/// Charts that are `width` characters wide.
pub(super) fn text(previews: &[Preview], width: usize) -> String {
    let columns = columns(previews);
    let steps = previews.first().map_or(&[][..], |preview| &preview.curve.steps);
    let charts = Output::ALL.into_iter().filter_map(|output| {
        let shown: Vec<&Column> = columns.iter().filter(|column| column.output == output).collect();
        (!shown.is_empty()).then(|| chart(output, steps, &shown, width))
    });
    charts.collect::<Vec<_>>().join("\n")
}

fn chart(output: Output, steps: &[u64], columns: &[&Column], width: usize) -> String {
    let (lowest, highest) = range(columns);
    let labels = [output::number(highest), output::number(lowest)];
    let margin = labels.iter().map(String::len).fold(TIME.len(), usize::max);
    let inside = width.saturating_sub(margin + 2).max(MIN_WIDTH);
    let on = |raster| columns.iter().map(move |column| trace(steps, column, (lowest, highest), raster));
    let lines = if columns.len() == 1 {
        on((inside * BRAILLE.0, HEIGHT * BRAILLE.1)).flat_map(|dots| braille(&dots)).collect()
    } else {
        marks(&on((inside, HEIGHT)).collect::<Vec<_>>())
    };
    let mut text = format!("{}\n", output.name());
    // Writing to a string does not fail.
    for (i, line) in lines.iter().enumerate() {
        let label = if i == 0 { &labels[0] } else { &labels[1] };
        let is_labelled = i == 0 || i + 1 == lines.len();
        let (label, tick) = if is_labelled { (label.as_str(), '┤') } else { ("", '│') };
        let _ = writeln!(text, "{}", format!("{label:>margin$} {tick}{line}").trim_end());
    }
    let ends = [steps.first(), steps.last()].map(|step| step.copied().unwrap_or_default().to_string());
    let gap = inside.saturating_sub(ends[0].len());
    let _ = writeln!(text, "{:margin$} └{}", "", "─".repeat(inside));
    let _ = writeln!(text, "{:margin$}  {}{:>gap$}", TIME, ends[0], ends[1]);
    for (i, column) in columns.iter().enumerate() {
        let mark = if columns.len() == 1 { '⣿' } else { MARKS[i % MARKS.len()] };
        let _ = writeln!(text, "{:margin$}  {mark} {} {}", "", column.label, column.group);
    }
    text
}

/// The least and the greatest value; where all are the same, 0 is the other end.
fn range(columns: &[&Column]) -> (f64, f64) {
    let values = columns.iter().flat_map(|column| column.values.iter().copied().flatten());
    let (lowest, highest) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if lowest < highest { (lowest, highest) } else { (lowest.min(0.0), highest.max(0.0)) }
}

/// Which dots of a raster a curve passes through: a list a line, from the top.
type Dots = Vec<Vec<bool>>;

/// The curve on a raster of `width` by `height` dots: in each column, all dots between its least and its greatest value
/// there, so that no value is skipped.
fn trace(steps: &[u64], column: &Column, (low, high): (f64, f64), (width, height): (usize, usize)) -> Dots {
    let mut dots = vec![vec![false; width]; height];
    let (first, last) = (exact(steps.first().copied().unwrap_or(0)), exact(steps.last().copied().unwrap_or(0)));
    // Halves first: the range itself may be more than the largest number.
    let up = |value: f64| place((value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0), height);
    let across = |step: u64| place((exact(step) - first) / (last - first), width);
    let points = steps.iter().zip(&column.values).filter_map(|(step, value)| Some((across(*step), up((*value)?))));
    let mut before: Option<(usize, usize)> = None;
    for (x, y) in points {
        let (from_x, from_y) = before.unwrap_or((x, y));
        let share = |i: usize| {
            let (top, bottom) = (y.max(from_y), y.min(from_y));
            let part = (top - bottom) * i / (x - from_x).max(1);
            if y >= from_y { bottom + part } else { top - part }
        };
        for i in 0..=x - from_x {
            // From half way to the column before: the next line begins with the part of the column that this line
            // covers.
            let (begin, end) = if x == from_x { (from_y, y) } else { (share(i.saturating_sub(1)), share(i)) };
            for line in begin.min(end)..=begin.max(end) {
                dots[height - 1 - line][from_x + i] = true;
            }
        }
        before = Some((x, y));
    }
    dots
}

/// The place, of `count`, at a `fraction` from 0 to 1; without a fraction, the first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and less than `count`")]
fn place(fraction: f64, count: usize) -> usize {
    let last = count.saturating_sub(1);
    let place = (fraction * exact(last as u64)).round();
    if place > 0.0 { (place as usize).min(last) } else { 0 }
}

/// Eight dots a character.
fn braille(dots: &Dots) -> Vec<String> {
    // The bits of the dots of a character, line by line; the last line was added to braille later.
    const BITS: [[u32; BRAILLE.0]; BRAILLE.1] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
    let character = |lines: &[Vec<bool>], x: usize| {
        let is_set = |line: usize, side: usize| lines.get(line).and_then(|dots| dots.get(x + side)) == Some(&true);
        let places = (0..BRAILLE.1).flat_map(|line| (0..BRAILLE.0).map(move |side| (line, side)));
        let bits = places.filter(|(line, side)| is_set(*line, *side)).map(|(line, side)| BITS[line][side]).sum::<u32>();
        if bits == 0 { ' ' } else { char::from_u32(0x2800 + bits).unwrap_or(' ') }
    };
    let width = dots.first().map_or(0, Vec::len);
    dots.chunks(BRAILLE.1).map(|lines| (0..width).step_by(BRAILLE.0).map(|x| character(lines, x)).collect()).collect()
}

/// A mark a curve; where several pass through, they take turns from column to column.
fn marks(traces: &[Dots]) -> Vec<String> {
    let height = traces.first().map_or(0, Vec::len);
    let width = traces.first().and_then(|dots| dots.first()).map_or(0, Vec::len);
    let character = |line: usize, x: usize| {
        let here: Vec<usize> = (0..traces.len()).filter(|curve| traces[*curve][line][x]).collect();
        if here.is_empty() { ' ' } else { MARKS[here[x % here.len()] % MARKS.len()] }
    };
    (0..height).map(|line| (0..width).map(|x| character(line, x)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(label: &str, values: &[f64]) -> Column {
        Column {
            label: label.to_owned(),
            group: "default".to_owned(),
            output: Output::LearningRate,
            values: values.iter().copied().map(Some).collect(),
        }
    }

    fn lines(steps: &[u64], columns: &[&Column]) -> Vec<String> {
        chart(Output::LearningRate, steps, columns, 24).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner_and_its_ends_are_labelled() {
        let falling = lines(&[0, 100], &[&column("a", &[0.5, 0.0])]);
        assert_eq!(falling[0], "learning_rate");
        assert_eq!(falling[1], " 0.5 ┤⠙⣆");
        assert!(
            falling[HEIGHT].starts_with("   0 ┤  ") && falling[HEIGHT].chars().count() == 24,
            "{}",
            falling[HEIGHT]
        );
        assert_eq!(falling[HEIGHT + 1], format!("     └{}", "─".repeat(18)));
        assert_eq!(falling[HEIGHT + 2], "step  0              100");
        assert_eq!(falling[HEIGHT + 3], "      ⣿ a default");
    }

    #[test]
    fn a_jump_within_one_column_is_a_whole_line() {
        let steps: Vec<u64> = (0..=10_000).collect();
        let values: Vec<f64> = steps.iter().map(|step| f64::from(u8::from(*step == 5001))).collect();
        let spike = trace(&steps, &column("a", &values), (0.0, 1.0), (20, 9));
        let full = (0..20).filter(|x| spike.iter().all(|line| line[*x])).count();
        assert_eq!(full, 1);
        assert!(spike[8].iter().all(|dot| *dot));
    }

    #[test]
    fn several_curves_have_a_mark_each_and_share_where_they_meet() {
        let (level, falling) = (column("level", &[1.0, 1.0]), column("falling", &[1.0, 0.0]));
        let text = lines(&[0, 10], &[&level, &falling, &level]);
        assert!(text[1].contains('*') && text[1].contains('+'), "{}", text[1]);
        assert!(text[HEIGHT].ends_with('o'), "{}", text[HEIGHT]);
        assert!(text[HEIGHT + 3].contains("* level") && text[HEIGHT + 4].contains("o falling"));
    }

    #[test]
    fn a_level_curve_is_drawn_against_nothing() {
        let text = lines(&[0, 10], &[&column("a", &[0.25, 0.25])]);
        assert!(text[1].starts_with("0.25 ┤⠉") && text[HEIGHT] == "   0 ┤", "{text:?}");
        let zero = lines(&[7], &[&column("a", &[0.0])]);
        assert!(zero[HEIGHT].contains("0 ┤"), "{zero:?}");
    }

    #[test]
    fn a_raster_covers_the_whole_range_of_numbers() {
        let dots = trace(&[0, 1], &column("a", &[-f64::MAX, f64::MAX]), (-f64::MAX, f64::MAX), (2, 3));
        assert!(dots[2][0] && dots[0][1]);
    }
}
