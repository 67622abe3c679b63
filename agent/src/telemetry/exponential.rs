//! Buckets of a base-2 exponential histogram, by OpenTelemetry's data model
//! (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>).
//!
//! Bucket `i` holds values in `(base^i, base^(i+1)]`, `base = 2^(2^-scale)`. The scale begins at the finest and falls
//! as the values spread, so that at most [`Size::max_buckets`] are in use.

/// How fine the buckets are, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The scale that is begun with: the finest.
    pub(crate) max_scale: i32,
    /// Most buckets.
    pub(crate) max_buckets: usize,
}

impl Default for Size {
    /// The data model's.
    fn default() -> Self {
        Self { max_scale: 20, max_buckets: 160 }
    }
}

/// At this scale all numbers fit two buckets.
const MIN_SCALE: i32 = -10;

const MANTISSA_BITS: u32 = 52;
const MANTISSA_MASK: u64 = (1 << MANTISSA_BITS) - 1;
const EXPONENT_BIAS: i32 = 1023;

/// The positive range and the zeroes.
#[derive(Debug)]
pub(super) struct Exponential {
    size: Size,
    scale: i32,
    zero_count: u64,
    /// Index of the first bucket.
    offset: i32,
    buckets: Vec<u64>,
}

impl Exponential {
    pub(super) const fn new(size: Size) -> Self {
        Self { size, scale: size.max_scale, zero_count: 0, offset: 0, buckets: Vec::new() }
    }

    /// Forgets all values, and is as fine as at first.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.size);
    }

    /// Whether buckets had to be joined.
    pub(super) const fn is_coarser(&self) -> bool {
        self.scale < self.size.max_scale
    }

    /// Counts a value; what is not above zero counts as zero.
    pub(super) fn record(&mut self, value: f64) {
        if value <= 0.0 || !value.is_finite() {
            self.zero_count += 1;
            return;
        }
        let mut index = index_of(value, self.scale);
        if self.buckets.is_empty() {
            self.offset = index;
        }
        let mut low = self.offset.min(index);
        let mut high = index.max(self.offset.saturating_add(self.buckets.len() as i32 - 1));
        let mut coarser = 0;
        while i64::from(high) - i64::from(low) >= self.size.max_buckets as i64 && self.scale - coarser > MIN_SCALE {
            (low, high) = (low >> 1, high >> 1);
            coarser += 1;
        }
        if coarser > 0 {
            self.coarsen(coarser);
            index >>= coarser;
        }
        if index < self.offset {
            let missing = (self.offset - index) as usize;
            self.buckets.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(at) {
            *count += 1;
        }
    }

    /// Lowers the scale: each step joins buckets in pairs.
    fn coarsen(&mut self, steps: i32) {
        let offset = self.offset >> steps;
        let mut joined = Vec::new();
        for (at, count) in self.buckets.iter().enumerate() {
            let to = (((self.offset + at as i32) >> steps) - offset) as usize;
            if to >= joined.len() {
                joined.resize(to + 1, 0);
            }
            if let Some(sum) = joined.get_mut(to) {
                *sum += count;
            }
        }
        (self.buckets, self.offset) = (joined, offset);
        self.scale -= steps;
    }

    pub(super) const fn scale(&self) -> i32 {
        self.scale
    }

    pub(super) const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    pub(super) const fn offset(&self) -> i32 {
        self.offset
    }

    pub(super) fn buckets(&self) -> &[u64] {
        &self.buckets
    }
}

/// The bucket of a value above zero. Subnormal numbers count as the smallest normal one.
fn index_of(value: f64, scale: i32) -> i32 {
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = ((bits >> MANTISSA_BITS) & 0x7ff) as i32 - EXPONENT_BIAS;
    let power_of_two = bits & MANTISSA_MASK == 0;
    if scale <= 0 {
        return (exponent - i32::from(power_of_two)) >> -scale;
    }
    if power_of_two {
        // Exact, where a logarithm may fall on either side.
        return (exponent << scale) - 1;
    }
    let mantissa = f64::from_bits((bits & MANTISSA_MASK) | (EXPONENT_BIAS as u64) << MANTISSA_BITS);
    // In (0, 2^scale): the octave is exact whatever the logarithm errs.
    let within = (mantissa.log2() * f64::from(1 << scale)).ceil().clamp(1.0, f64::from(1 << scale));
    (exponent << scale) + within as i32 - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn upper_bounds_are_inclusive_at_every_scale() {
        for scale in MIN_SCALE..=Size::default().max_scale {
            assert_eq!(index_of(1.0, scale), -1, "scale {scale}");
            assert_eq!(index_of(1.000_000_000_1, scale), 0, "scale {scale}");
        }
        assert_eq!([2.0, 2.1, 4.0, 4.1].map(|value| index_of(value, 0)), [0, 1, 1, 2]);
        assert_eq!([1.4, 1.5, 2.0].map(|value| index_of(value, 1)), [0, 1, 1]);
        assert_eq!([4.0, 4.1, 16.0, 17.0].map(|value| index_of(value, -1)), [0, 1, 1, 2]);
    }

    #[test]
    fn one_value_has_one_bucket_at_the_finest_scale() {
        let mut buckets = Exponential::new(Size::default());
        buckets.record(0.25);
        buckets.record(0.25);
        assert_eq!((buckets.scale(), buckets.offset(), buckets.buckets()), (20, (-2 << 20) - 1, [2].as_slice()));
    }

    #[test]
    fn there_are_as_many_buckets_as_were_asked_for_and_no_finer_ones() {
        let mut buckets = Exponential::new(Size { max_scale: 3, max_buckets: 10 });
        buckets.record(1.5);
        assert_eq!((buckets.scale(), buckets.is_coarser()), (3, false));
        buckets.record(15.0);
        assert!(buckets.is_coarser() && buckets.buckets().len() <= 10);
        buckets.clear();
        assert_eq!((buckets.scale(), buckets.buckets().len()), (3, 0));
    }

    #[test]
    fn the_extremes_of_f64_fit() {
        let mut buckets = Exponential::new(Size::default());
        for value in [f64::MIN_POSITIVE, 5e-324, 1.0, f64::MAX, 0.0] {
            buckets.record(value);
        }
        assert_eq!((buckets.buckets().iter().sum::<u64>(), buckets.zero_count()), (4, 1));
        assert!(buckets.buckets().len() <= Size::default().max_buckets);
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(values in proptest::collection::vec(1e-9..1e6_f64, 1..200)) {
            let mut buckets = Exponential::new(Size::default());
            for value in &values {
                buckets.record(*value);
            }
            prop_assert!(buckets.buckets().len() <= Size::default().max_buckets);
            let base_log2 = f64::from(-buckets.scale()).exp2();
            let mut expected = vec![0_u64; buckets.buckets().len()];
            for value in &values {
                let index = index_of(*value, buckets.scale());
                let (low, high) = (f64::from(index) * base_log2, (f64::from(index) + 1.0) * base_log2);
                prop_assert!(value.log2() >= low - 1e-9 && value.log2() <= high + 1e-9, "{} in {}..{}", value, low, high);
                expected[(index - buckets.offset()) as usize] += 1;
            }
            prop_assert_eq!(buckets.buckets(), expected.as_slice());
            // No coarser than the spread needs.
            let spread = index_of(values.iter().copied().fold(0.0, f64::max), buckets.scale() + 1)
                - index_of(values.iter().copied().fold(f64::MAX, f64::min), buckets.scale() + 1);
            prop_assert!(buckets.scale() == Size::default().max_scale || spread >= Size::default().max_buckets as i32);
        }
    }
}
