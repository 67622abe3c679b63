//! Probes on functions of programs and libraries, for all processes at once: the programs look at which are watched.

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::mpsc::{self, Sender},
    thread,
};

use aya::{
    Ebpf,
    maps::{Array, MapError},
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeLink, UProbeLinkId, UProbeScope},
    },
};

use ebpf_common::policy::{TLS_COMPLETE, TLS_INCOMPLETE};

use super::{Capture, plainly};
use crate::tls::{Probes, Site};

/// Takes probes away on a thread of its own: the kernel waits for a tenth of a second at each, until no processor can be
/// in it any more.
#[derive(Default)]
pub(super) struct Links(Option<Sender<UProbeLink>>);

impl Links {
    fn drop_later(&mut self, link: UProbeLink) {
        let sender = self.0.get_or_insert_with(|| {
            let (sender, links) = mpsc::channel();
            let work = move || links.into_iter().for_each(drop);
            if let Err(error) = thread::Builder::new().name("detach".to_owned()).spawn(work) {
                tracing::debug!(%error, "no thread to take probes away: it is done in between");
            }
            sender
        });
        // Without the thread the link comes back, and goes here.
        drop(sender.send(link));
    }
}

/// A probe in place.
#[derive(Debug)]
pub struct Uprobe {
    program: &'static str,
    link: UProbeLinkId,
}

impl Probes for Capture {
    type Probe = Uprobe;

    fn set_complete(&mut self, is_complete: bool) {
        if let Err(error) = say(&mut self.object, if is_complete { TLS_COMPLETE } else { TLS_INCOMPLETE }) {
            tracing::warn!(error, "TLS traffic is not seen");
        }
    }

    fn attach(&mut self, file: &File, site: &Site) -> Result<Vec<Uprobe>, String> {
        // Not by its path, which may mean another file by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (entry, on_return) = site.function.programs();
        let mut probes: Vec<Uprobe> = Vec::new();
        // The return first: an entry without its return would leave the thread in the call.
        for program in on_return.into_iter().chain([entry]) {
            match attach(&mut self.object, program, &path, site.offset) {
                Ok(link) => probes.push(Uprobe { program, link }),
                Err(error) => {
                    for probe in probes {
                        Probes::detach(self, probe);
                    }
                    return Err(format!("{program}: {error}"));
                }
            }
        }
        Ok(probes)
    }

    fn detach(&mut self, probe: Uprobe) {
        let Ok(program) = program(&mut self.object, probe.program) else { return };
        match program.take_link(probe.link) {
            Ok(link) => self.links.drop_later(link),
            Err(error) => tracing::debug!(program = probe.program, %error, "a probe was gone already"),
        }
    }
}

fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, String> {
    let program = object.program_mut(name).ok_or_else(|| format!("no program {name}"))?;
    program.try_into().map_err(|error: aya::programs::ProgramError| plainly(&error))
}

/// Tells the programs how far the probes are.
fn say(object: &mut Ebpf, word: u32) -> Result<(), String> {
    let map = object.map_mut("TLS_PROBED").ok_or("no map TLS_PROBED")?;
    let mut probed: Array<_, u32> = map.try_into().map_err(|error: MapError| error.to_string())?;
    probed.set(0, word, 0).map_err(|error| error.to_string())
}

fn attach(object: &mut Ebpf, name: &str, path: &PathBuf, offset: u64) -> Result<UProbeLinkId, String> {
    let program = program(object, name)?;
    // Loaded when first needed: most hosts would not need it at all.
    if program.fd().is_err() {
        program.load().map_err(|error| plainly(&error))?;
    }
    let program = self::program(object, name)?;
    program
        .attach(UProbeAttachLocation::AbsoluteOffset(offset), path, UProbeScope::AllProcesses)
        .map_err(|error| plainly(&error))
}
