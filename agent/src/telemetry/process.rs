//! What processes use of their host, as the semantic conventions have it (`process.*`).

use std::sync::Arc;

use super::{select::Select, semconv};
use crate::{
    model::{
        go::{Counted, PAUSE_BOUNDS},
        ids::ProcessId,
        metric::{Bounds, HistogramPoint, Metric, NumberPoint, Points},
        span::{Attribute, Resource, Value},
    },
    procs::Usage,
};

/// A process at a moment.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSample {
    /// Of which service instance it is.
    pub(crate) resource: Arc<Resource>,
    pub(crate) pid: ProcessId,
    pub(crate) usage: Usage,
    /// Share of the processors that it may run on which it had since the last look, in user mode and in the kernel.
    pub(crate) utilization: Option<[f64; 2]>,
    /// Bytes that it was seen to receive and to send, and since when.
    pub(crate) network: Option<([u64; 2], u64)>,
    /// What Go's runtime counts.
    pub(crate) go: Option<Counted>,
    pub(crate) start_unix_ns: u64,
    pub(crate) uptime_s: f64,
}

/// How a metric's points belong together.
type Kind = fn(Vec<NumberPoint>) -> Points;
/// A point's attribute, besides the process, since when it counts and its value.
type Value3 = (Option<(&'static str, &'static str)>, u64, f64);

/// The values of a process.
type Values = fn(&ProcessSample) -> Vec<Value3>;

/// The table: name, unit, description, kind, and values.
const METRICS: [(&str, &str, &str, Kind, Values); 18] = [
    (semconv::PROCESS_CPU_TIME, "s", "Total CPU seconds broken down by different CPU modes.", Points::Counter, |it| {
        by_mode(it.usage.cpu_s, it.start_unix_ns)
    }),
    (
        semconv::PROCESS_CPU_UTILIZATION,
        "1",
        "Difference in process.cpu.time since the last measurement, by the time that passed and the CPUs available to the process.",
        Points::Gauge,
        |it| it.utilization.map_or_else(Vec::new, |share| by_mode(share, it.start_unix_ns)),
    ),
    (semconv::PROCESS_MEMORY_USAGE, "By", "The amount of physical memory in use.", Points::UpDownCounter, |it| {
        vec![(None, it.start_unix_ns, it.usage.resident_bytes as f64)]
    }),
    (semconv::PROCESS_MEMORY_VIRTUAL, "By", "The amount of committed virtual memory.", Points::UpDownCounter, |it| {
        vec![(None, it.start_unix_ns, it.usage.virtual_bytes as f64)]
    }),
    (semconv::PROCESS_DISK_IO, "By", "Disk bytes transferred.", Points::Counter, |it| {
        let directions = ["read", "write"];
        it.usage.disk_bytes.map_or_else(Vec::new, |bytes| {
            by_word(semconv::DISK_IO_DIRECTION, directions, bytes.map(|bytes| bytes as f64), it.start_unix_ns)
        })
    }),
    (
        semconv::PROCESS_NETWORK_IO,
        "By",
        "Bytes transferred over the TCP connections of which requests are told, of TLS what it carries.",
        Points::Counter,
        |it| {
            let directions = ["receive", "transmit"];
            it.network.map_or_else(Vec::new, |(bytes, since)| {
                by_word(semconv::NETWORK_IO_DIRECTION, directions, bytes.map(|bytes| bytes as f64), since)
            })
        },
    ),
    (semconv::PROCESS_THREAD_COUNT, "{thread}", "Process threads count.", Points::UpDownCounter, |it| {
        vec![(None, it.start_unix_ns, it.usage.threads as f64)]
    }),
    (
        semconv::PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
        "{file_descriptor}",
        "Number of unix file descriptors in use by the process.",
        Points::UpDownCounter,
        |it| it.usage.descriptors.map_or_else(Vec::new, |count| vec![(None, it.start_unix_ns, count as f64)]),
    ),
    (semconv::PROCESS_UPTIME, "s", "The time the process has been running.", Points::Gauge, |it| {
        vec![(None, it.start_unix_ns, it.uptime_s)]
    }),
    (semconv::GO_GOROUTINE_COUNT, "{goroutine}", "Count of live goroutines.", Points::UpDownCounter, |it| {
        of_go(it, |go| go.goroutines)
    }),
    (semconv::GO_MEMORY_USED, "By", "Memory used by the Go runtime.", Points::UpDownCounter, |it| {
        let used = it.go.and_then(|go| go.memory);
        used.map_or_else(Vec::new, |used| {
            let used = used.map(|bytes| bytes as f64);
            by_word(semconv::GO_MEMORY_TYPE, ["stack", "other"], used, it.start_unix_ns)
        })
    }),
    (
        semconv::GO_MEMORY_LIMIT,
        "By",
        "Go runtime memory limit configured by the user, if a limit exists.",
        Points::UpDownCounter,
        |it| of_go(it, |go| go.limit),
    ),
    (semconv::GO_MEMORY_ALLOCATED, "By", "Memory allocated to the heap by the application.", Points::Counter, |it| {
        of_go(it, |go| go.allocated.map(|[bytes, _]| bytes))
    }),
    (
        semconv::GO_MEMORY_ALLOCATIONS,
        "{allocation}",
        "Count of allocations to the heap by the application.",
        Points::Counter,
        |it| of_go(it, |go| go.allocated.map(|[_, number]| number)),
    ),
    (semconv::GO_MEMORY_GC_CYCLES, "{gc_cycle}", "Number of completed GC cycles.", Points::Counter, |it| {
        of_go(it, |go| go.collections)
    }),
    (semconv::GO_MEMORY_GC_GOAL, "By", "Heap size target for the end of the GC cycle.", Points::UpDownCounter, |it| {
        of_go(it, |go| go.goal)
    }),
    (
        semconv::GO_PROCESSOR_LIMIT,
        "{thread}",
        "The number of OS threads that can execute user-level Go code simultaneously.",
        Points::UpDownCounter,
        |it| of_go(it, |go| go.processors),
    ),
    (
        semconv::GO_CONFIG_GOGC,
        "%",
        "Heap size target percentage configured by the user, otherwise 100.",
        Points::UpDownCounter,
        |it| of_go(it, |go| go.growth),
    ),
];

/// Names of all of them, and of the one that is a distribution.
pub(super) const NAMES: [&str; METRICS.len() + 1] = {
    let mut names = [semconv::GO_MEMORY_GC_PAUSE_DURATION; METRICS.len() + 1];
    let mut at = 0;
    while at < METRICS.len() {
        names[at] = METRICS[at].0;
        at += 1;
    }
    names
};

fn of_go(it: &ProcessSample, value: impl FnOnce(Counted) -> Option<u64>) -> Vec<Value3> {
    it.go.and_then(value).map_or_else(Vec::new, |value| vec![(None, it.start_unix_ns, value as f64)])
}

fn by_mode(values: [f64; 2], since: u64) -> Vec<Value3> {
    by_word(semconv::CPU_MODE, ["user", "system"], values, since)
}

fn by_word(key: &'static str, words: [&'static str; 2], values: [f64; 2], since: u64) -> Vec<Value3> {
    words.into_iter().zip(values).map(|(word, value)| (Some((key, word)), since, value)).collect()
}

/// The metrics of these processes. Several of one service instance are told apart by `process.pid`.
#[must_use]
pub(crate) fn metrics<'a>(samples: impl Iterator<Item = &'a ProcessSample>, select: &Select) -> Vec<Metric> {
    let mut instances: Vec<(&Arc<Resource>, Vec<&ProcessSample>)> = Vec::new();
    let mut places = hashbrown::HashMap::new();
    for sample in samples {
        let place = *places.entry(Arc::as_ptr(&sample.resource)).or_insert_with(|| {
            instances.push((&sample.resource, Vec::new()));
            instances.len() - 1
        });
        if let Some((_, its)) = instances.get_mut(place) {
            its.push(sample);
        }
    }
    let mut out = Vec::new();
    for (resource, samples) in instances {
        for (name, unit, description, kind, values) in METRICS {
            let points: Vec<NumberPoint> = samples
                .iter()
                .flat_map(|sample| {
                    let pid = of_process(sample);
                    values(sample).into_iter().map(move |(attribute, start_unix_ns, value)| {
                        let word = attribute.map(|(key, word)| Attribute { key, value: Value::Static(word) });
                        let attributes = word.into_iter().chain([pid.clone()]).collect();
                        NumberPoint { attributes, start_unix_ns, value }
                    })
                })
                .collect();
            let points = select.leave_out_of_numbers(name, points);
            if !points.is_empty() {
                out.push(Metric { name, unit, description, resource: Arc::clone(resource), points: kind(points) });
            }
        }
        out.extend(pauses(resource, &samples, select));
    }
    out
}

fn of_process(sample: &ProcessSample) -> Attribute {
    Attribute { key: semconv::PROCESS_PID, value: Value::Int(sample.pid.0.into()) }
}

/// How long programs of Go were stopped for collections.
fn pauses(resource: &Arc<Resource>, samples: &[&ProcessSample], select: &Select) -> Option<Metric> {
    let name = semconv::GO_MEMORY_GC_PAUSE_DURATION;
    let mut points: Vec<HistogramPoint> = Vec::new();
    for sample in samples {
        let Some(pauses) = sample.go.and_then(|go| go.pauses) else { continue };
        let attributes: Vec<Attribute> =
            [of_process(sample)].into_iter().filter(|of| select.keeps(name, of.key)).collect();
        let count = pauses.buckets.iter().sum();
        if let Some(same) = points.iter_mut().find(|point| point.attributes == attributes) {
            same.start_unix_ns = same.start_unix_ns.min(sample.start_unix_ns);
            (same.count, same.sum) = (same.count + count, same.sum + pauses.sum_s);
            same.buckets.iter_mut().zip(pauses.buckets).for_each(|(of_all, of_it)| *of_all += of_it);
            continue;
        }
        points.push(HistogramPoint {
            attributes,
            start_unix_ns: sample.start_unix_ns,
            // It is told as long as the process is there.
            updated_unix_ns: u64::MAX,
            count,
            sum: pauses.sum_s,
            min: f64::NAN,
            max: f64::NAN,
            bounds: Bounds::Static(&PAUSE_BOUNDS),
            buckets: pauses.buckets.to_vec(),
            native: None,
            exemplars: Vec::new(),
        });
    }
    let description = "Distribution of individual GC-related stop-the-world pause latencies. This is the time from deciding to stop the world until the world is started again.";
    let (resource, is_empty) = (Arc::clone(resource), points.is_empty());
    (!is_empty).then(|| Metric { name, unit: "s", description, resource, points: Points::Histogram(points) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::go::Pauses;

    fn sample(resource: &Arc<Resource>, pid: u32) -> ProcessSample {
        ProcessSample {
            resource: Arc::clone(resource),
            pid: ProcessId(pid),
            usage: Usage {
                start_ticks: 1,
                cpu_s: [2.0, 1.0],
                threads: 4,
                virtual_bytes: 2000,
                resident_bytes: 1000,
                disk_bytes: Some([10, 20]),
                descriptors: Some(7),
                cpus: 2,
            },
            utilization: Some([0.5, 0.25]),
            network: Some(([100, 200], 50)),
            go: Some(Counted {
                goroutines: Some(11),
                processors: Some(4),
                memory: Some([300, 700]),
                allocated: Some([9000, 90]),
                collections: Some(3),
                pauses: Some(Pauses { buckets: [0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1], sum_s: 0.5 }),
                limit: None,
                goal: Some(4 << 20),
                growth: Some(100),
            }),
            start_unix_ns: 30,
            uptime_s: 9.0,
        }
    }

    #[test]
    fn each_process_of_an_instance_has_its_own_points() {
        let resource = Arc::new(Resource::default());
        let unknown = ProcessSample {
            utilization: None,
            network: None,
            go: None,
            usage: Usage { disk_bytes: None, descriptors: None, ..sample(&resource, 3).usage },
            ..sample(&resource, 3)
        };
        let mut metrics = metrics([sample(&resource, 2), unknown].iter(), &Select::default());
        let pauses = metrics.pop().unwrap();
        let Points::Histogram(points) = &pauses.points else { panic!("{pauses:?}") };
        assert_eq!((pauses.name, points.len()), ("go.memory.gc.pause.duration", 1));
        assert_eq!((points[0].count, points[0].sum, points[0].start_unix_ns), (7, 0.5, 30));
        assert_eq!(points[0].buckets.len(), points[0].bounds.len() + 1);
        let shown: Vec<_> = metrics
            .iter()
            .map(|metric| {
                let (Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points)) = &metric.points
                else {
                    panic!("{metric:?}");
                };
                (metric.name, points.len(), points[0].value, points[0].start_unix_ns)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("process.cpu.time", 4, 2.0, 30),
                ("process.cpu.utilization", 2, 0.5, 30),
                ("process.memory.usage", 2, 1000.0, 30),
                ("process.memory.virtual", 2, 2000.0, 30),
                ("process.disk.io", 2, 10.0, 30),
                ("process.network.io", 2, 100.0, 50),
                ("process.thread.count", 2, 4.0, 30),
                ("process.unix.file_descriptor.count", 1, 7.0, 30),
                ("process.uptime", 2, 9.0, 30),
                ("go.goroutine.count", 1, 11.0, 30),
                ("go.memory.used", 2, 300.0, 30),
                ("go.memory.allocated", 1, 9000.0, 30),
                ("go.memory.allocations", 1, 90.0, 30),
                ("go.memory.gc.cycles", 1, 3.0, 30),
                ("go.memory.gc.goal", 1, 4_194_304.0, 30),
                ("go.processor.limit", 1, 4.0, 30),
                ("go.config.gogc", 1, 100.0, 30),
            ]
        );
    }
}
