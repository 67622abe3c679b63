//! Which spans are exported. Metrics count every request all the same.

use crate::{
    config::{self, SamplerName},
    model::trace_context::{TraceId, TraceParent},
};

/// A sampler, as `OTEL_TRACES_SAMPLER` names them.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// `always_on`.
    AlwaysOn,
    /// `always_off`.
    AlwaysOff,
    /// `traceidratio`: this share of all traces, chosen by trace id as OpenTelemetry's SDKs do.
    TraceIdRatio(f64),
    /// `parentbased_*`: what the caller decided; for a root, what this sampler says.
    ParentBased(Box<Sampler>),
}

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self::ParentBased(Box::new(Self::AlwaysOn))
    }
}

impl From<&config::Sampler> for Sampler {
    fn from(sampler: &config::Sampler) -> Self {
        let ratio = || Self::TraceIdRatio(sampler.ratio());
        let parent_based = |root| Self::ParentBased(Box::new(root));
        match sampler.name {
            SamplerName::AlwaysOn => Self::AlwaysOn,
            SamplerName::AlwaysOff => Self::AlwaysOff,
            SamplerName::TraceIdRatio => ratio(),
            SamplerName::ParentBasedAlwaysOn => parent_based(Self::AlwaysOn),
            SamplerName::ParentBasedAlwaysOff => parent_based(Self::AlwaysOff),
            SamplerName::ParentBasedTraceIdRatio => parent_based(ratio()),
        }
    }
}

/// Why there is no such sampler.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SamplerError {
    /// Not a name we know.
    #[error(
        "unknown sampler `{0}`: expected always_on, always_off, traceidratio, parentbased_always_on, \
         parentbased_always_off or parentbased_traceidratio"
    )]
    UnknownName(String),
    /// Not a share.
    #[error("sampler argument `{0}`: expected a number from 0 to 1")]
    BadRatio(String),
}

impl Sampler {
    /// Reads `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; without an argument a ratio is 1.
    ///
    /// # Errors
    /// An unknown name, or a ratio that is no number from 0 to 1.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, SamplerError> {
        if let Some(root) = name.strip_prefix("parentbased_") {
            return match root {
                "always_on" | "always_off" | "traceidratio" => {
                    Ok(Self::ParentBased(Box::new(Self::parse(root, argument)?)))
                }
                _ => Err(SamplerError::UnknownName(name.to_owned())),
            };
        }
        match name {
            "always_on" => Ok(Self::AlwaysOn),
            "always_off" => Ok(Self::AlwaysOff),
            "traceidratio" => {
                let argument = argument.unwrap_or("1");
                match argument.trim().parse::<f64>() {
                    Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self::TraceIdRatio(ratio)),
                    _ => Err(SamplerError::BadRatio(argument.to_owned())),
                }
            }
            _ => Err(SamplerError::UnknownName(name.to_owned())),
        }
    }

    /// Whether a span of this trace is exported.
    #[must_use]
    pub fn samples(&self, parent: Option<&TraceParent>, trace_id: TraceId) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::TraceIdRatio(ratio) => {
                let [.., a, b, c, d, e, f, g, h] = trace_id.0;
                // 63 bits of the id against the ratio of 2^63, so that agents and SDKs agree on a trace.
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1) < (ratio * (1_u64 << 63) as f64) as u64
            }
            Self::ParentBased(root) => match parent.filter(|parent| !parent.is_deferred) {
                Some(parent) => parent.sampled(),
                None => root.samples(None, trace_id),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace_context::SpanId;

    fn parent(flags: u8) -> TraceParent {
        TraceParent { trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]), flags, is_deferred: false }
    }

    #[test]
    fn the_names_are_opentelemetrys() {
        let based = |root| Ok(Sampler::ParentBased(Box::new(root)));
        assert_eq!(Sampler::parse("always_on", None), Ok(Sampler::AlwaysOn));
        assert_eq!(Sampler::parse("always_off", None), Ok(Sampler::AlwaysOff));
        assert_eq!(Sampler::parse("traceidratio", Some("0.25")), Ok(Sampler::TraceIdRatio(0.25)));
        assert_eq!(Sampler::parse("traceidratio", None), Ok(Sampler::TraceIdRatio(1.0)));
        assert_eq!(Sampler::parse("parentbased_always_on", None), Ok(Sampler::default()));
        assert_eq!(Sampler::parse("parentbased_always_off", None), based(Sampler::AlwaysOff));
        assert_eq!(Sampler::parse("parentbased_traceidratio", Some("0")), based(Sampler::TraceIdRatio(0.0)));
    }

    #[test]
    fn other_names_and_ratios_are_refused_by_name() {
        for name in ["", "parentbased_", "parentbased_parentbased_always_on", "jaeger_remote", "ALWAYS_ON"] {
            assert_eq!(Sampler::parse(name, None), Err(SamplerError::UnknownName(name.to_owned())));
        }
        for ratio in ["-0.1", "1.1", "NaN", "half", ""] {
            assert_eq!(Sampler::parse("traceidratio", Some(ratio)), Err(SamplerError::BadRatio(ratio.to_owned())));
        }
    }

    #[test]
    fn the_caller_decides_for_parent_based_samplers_only() {
        let (sampled, unsampled) = (parent(1), parent(0));
        let off = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        assert!(off.samples(Some(&sampled), sampled.trace_id) && !off.samples(None, sampled.trace_id));
        assert!(!Sampler::default().samples(Some(&unsampled), sampled.trace_id));
        assert!(Sampler::default().samples(None, sampled.trace_id));
        let deferred = TraceParent { is_deferred: true, ..unsampled };
        assert!(Sampler::default().samples(Some(&deferred), sampled.trace_id), "B3 leaves it to who is called");
        assert!(!off.samples(Some(&deferred), sampled.trace_id));
        assert!(Sampler::AlwaysOn.samples(Some(&unsampled), sampled.trace_id));
        assert!(!Sampler::AlwaysOff.samples(Some(&sampled), sampled.trace_id));
    }

    #[test]
    fn a_ratio_takes_about_that_share_and_its_ends_are_exact() {
        let mut ids = super::super::ids::Ids::from_seed([3; 32]);
        let traces: Vec<_> = (0..10_000).map(|_| ids.trace_id()).collect();
        let taken = |ratio| traces.iter().filter(|id| Sampler::TraceIdRatio(ratio).samples(None, **id)).count();
        assert_eq!(taken(0.0), 0);
        assert_eq!(taken(1.0), 10_000);
        assert!((2_300..2_700).contains(&taken(0.25)), "{}", taken(0.25));
    }
}
