//! What is looked at, and what keys do to it.

use super::{super::client::NoAnswer, tty::Key};
use crate::api::answers::{Service, ServiceDetail, Services, SpanSummary, Trace};

/// What can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    Services,
    Service {
        name: String,
        namespace: String,
    },
    Requests {
        /// Name and namespace.
        service: Option<(String, String)>,
        /// The span's.
        name: Option<String>,
        kind: Option<&'static str>,
        is_failed: bool,
        is_slowest: bool,
    },
    Trace {
        id: String,
    },
}

/// What was answered.
pub(super) enum Data {
    Services(Services),
    Service(Box<ServiceDetail>),
    Requests(Vec<SpanSummary>),
    Trace(Box<Trace>),
}

/// By what services are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Rate,
    Errors,
    P99,
    Name,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Quit,
    Stay,
    /// Another thing is looked at.
    Ask,
}

/// See the module.
pub(super) struct State {
    pub(super) url: String,
    /// The last is looked at; those before are gone back to. Each with the row that is chosen.
    views: Vec<(View, usize)>,
    pub(super) data: Option<Data>,
    /// Why there is no newer answer.
    pub(super) problem: Option<String>,
    pub(super) sort: Sort,
    pub(super) is_paused: bool,
}

impl State {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            views: vec![(View::Services, 0)],
            data: None,
            problem: None,
            sort: Sort::Rate,
            is_paused: false,
        }
    }

    /// What is looked at.
    pub(super) fn view(&self) -> &View {
        self.views.last().map_or(&View::Services, |(view, _)| view)
    }

    /// The row that is chosen.
    pub(super) fn row(&self) -> usize {
        self.views.last().map_or(0, |(_, row)| *row).min(self.count().saturating_sub(1))
    }

    /// Whether it is asked anew by itself.
    pub(super) fn is_live(&self) -> bool {
        !self.is_paused
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, answer: Result<Data, NoAnswer>) {
        match answer {
            Ok(data) => {
                self.data = Some(data);
                self.problem = None;
            }
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    /// Services, as they are sorted.
    pub(super) fn services(&self) -> Vec<&Service> {
        let Some(Data::Services(answer)) = &self.data else { return Vec::new() };
        let mut services: Vec<&Service> = answer.services.iter().collect();
        let rates =
            |service: &Service| if service.served.requests > 0 { service.served.clone() } else { service.made.clone() };
        services.sort_by(|a, b| {
            let (left, right) = (rates(a), rates(b));
            let by = match self.sort {
                Sort::Rate => right.rate.total_cmp(&left.rate),
                Sort::Errors => right.error_share.total_cmp(&left.error_share),
                Sort::P99 => right.p99_ms.unwrap_or(0.0).total_cmp(&left.p99_ms.unwrap_or(0.0)),
                Sort::Name => std::cmp::Ordering::Equal,
            };
            by.then_with(|| a.name.cmp(&b.name))
        });
        services
    }

    fn count(&self) -> usize {
        match &self.data {
            Some(Data::Services(answer)) => answer.services.len(),
            Some(Data::Service(detail)) => detail.routes.len(),
            Some(Data::Requests(spans)) => spans.len(),
            Some(Data::Trace(trace)) => trace.spans.len(),
            None => 0,
        }
    }

    fn go(&mut self, view: View) -> Next {
        self.views.push((view, 0));
        self.data = None;
        Next::Ask
    }

    fn choose(&mut self, row: usize) -> Next {
        let last = self.count().saturating_sub(1);
        if let Some((_, chosen)) = self.views.last_mut() {
            *chosen = row.min(last);
        }
        Next::Stay
    }

    /// What the row that is chosen leads to.
    fn open(&mut self) -> Next {
        let row = self.row();
        let next = match (&self.data, self.view()) {
            (Some(Data::Services(_)), _) => self
                .services()
                .get(row)
                .map(|it| View::Service { name: it.name.clone(), namespace: it.namespace.clone() }),
            (Some(Data::Service(detail)), View::Service { name, namespace }) => {
                detail.routes.get(row).map(|route| View::Requests {
                    service: Some((name.clone(), namespace.clone())),
                    // Those that are counted together have names of their own.
                    name: Some(route.name.clone()).filter(|name| name != "(others)"),
                    kind: (!detail.is_client).then_some("server"),
                    is_failed: false,
                    is_slowest: false,
                })
            }
            (Some(Data::Requests(spans)), _) => spans.get(row).map(|span| View::Trace { id: span.trace_id.clone() }),
            _ => None,
        };
        next.map_or(Next::Stay, |view| self.go(view))
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: Key) -> Next {
        let row = self.row();
        match key {
            Key::Interrupt | Key::Char('q') => Next::Quit,
            Key::Escape | Key::Backspace | Key::Left | Key::Char('h') => {
                if self.views.len() == 1 {
                    return Next::Stay;
                }
                self.views.pop();
                self.data = None;
                Next::Ask
            }
            Key::Up | Key::Char('k') => self.choose(row.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.choose(row + 1),
            Key::PageUp => self.choose(row.saturating_sub(10)),
            Key::PageDown => self.choose(row + 10),
            Key::Home | Key::Char('g') => self.choose(0),
            Key::End | Key::Char('G') => self.choose(usize::MAX),
            Key::Enter | Key::Right => self.open(),
            Key::Char(' ') => {
                self.is_paused = !self.is_paused;
                Next::Stay
            }
            Key::Char(letter) => self.letter(letter),
        }
    }

    fn letter(&mut self, letter: char) -> Next {
        let all = || View::Requests { service: None, name: None, kind: None, is_failed: false, is_slowest: false };
        match self.views.last_mut() {
            Some((View::Services, _)) => {
                self.sort = match letter {
                    'r' => Sort::Rate,
                    'e' => Sort::Errors,
                    'p' => Sort::P99,
                    'n' => Sort::Name,
                    'l' => return self.go(all()),
                    _ => return Next::Stay,
                };
                Next::Stay
            }
            Some((View::Requests { is_failed, is_slowest, .. }, row)) => {
                match letter {
                    'f' => *is_failed = !*is_failed,
                    's' => *is_slowest = !*is_slowest,
                    _ => return Next::Stay,
                }
                *row = 0;
                Next::Ask
            }
            Some((View::Service { name, namespace }, _)) if letter == 'l' => {
                let service = Some((name.clone(), namespace.clone()));
                self.go(View::Requests { service, name: None, kind: None, is_failed: false, is_slowest: false })
            }
            _ => Next::Stay,
        }
    }
}
