//! The area under a curve, point by point.

use lrs_model::number::exact;

/// The area so far, by trapezoids between neighbouring points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Area {
    sum: f64,
    first: Option<u64>,
    last: Option<(u64, f64)>,
}

impl Area {
    /// Takes the next point. Steps rise; a value that is not finite is left out, so its neighbours are joined.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        if let Some((before, height)) = self.last {
            self.sum += exact(step - before) * f64::midpoint(height, value);
        }
        self.first.get_or_insert(step);
        self.last = Some((step, value));
    }

    /// The area, in values times steps; `None` for fewer than two points.
    #[must_use]
    pub fn area(&self) -> Option<f64> {
        self.span().map(|_| self.sum)
    }

    /// The mean height: the area over the steps it spans.
    #[must_use]
    pub fn height(&self) -> Option<f64> {
        self.span().map(|span| self.sum / span)
    }

    fn span(&self) -> Option<f64> {
        let (first, (last, _)) = (self.first?, self.last?);
        (last > first).then(|| exact(last - first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(points: &[(u64, f64)]) -> Area {
        let mut area = Area::default();
        for &(step, value) in points {
            area.push(step, value);
        }
        area
    }

    #[test]
    fn trapezoids_by_hand() {
        let found = area(&[(10, 4.0), (20, 2.0), (21, 2.0)]);
        assert_eq!((found.area(), found.height()), (Some(32.0), Some(32.0 / 11.0)));
    }

    #[test]
    fn a_nan_is_bridged_and_one_point_has_no_area() {
        assert_eq!(area(&[(0, 1.0), (1, f64::NAN), (2, 3.0)]).area(), Some(4.0));
        assert_eq!(area(&[(5, 1.0), (6, f64::INFINITY)]).area(), None);
        assert_eq!(area(&[]).height(), None);
    }
}
