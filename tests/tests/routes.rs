//! Routes that are learnt from paths: of real interfaces, whose documents say what the routes are, filled with generated values and asked
//! for in random order.
//!
//! The learner's thresholds were set with half of the documents. Held out were the others, which were asked once they were set, and those
//! of GitHub, Kubernetes and Stripe, with which an early draft was tried too.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use beyla_rs::internals::telemetry::{RouteConfig, Router, Routes};
use tests::need;

/// What the thresholds were set with.
const TUNED_WITH: &str = "agco-ats.com akeneo.com alertersystem.com anchore.io apigee.net/marketcheck-cars appcenter.ms \
    apple.com/app-store-connect appwrite.io/server asana.com atlassian.com/jira azure.com/adhybridhealthservice-ADHybridHealthService \
    beezup.com biapi.pro circuitsandbox.net clearblade.com clickmeter.com codat.io/accounting contract-p.fit crucible.local \
    digitalocean.com docker.com/engine docusign.net evetech.net gambitcomm.local/mimic googleapis.com/compute here.com/tracking \
    linode.com loket.nl magento.com mailchimp.com mcw.edu meraki.com monarchinitiative.org motaword.com mux.com netboxdemo.com \
    netlify.com noosh.com payrun.io presalytics.io/ooxml redirection.io shipengine.com signl4.com sinao.app snyk.io squareup.com \
    telnyx.com thebluealliance.com trello.com twitter.com/current velopayments.com vimeo.com visma.net visualstudio.com \
    vmware.local/vrni vtex.local/Catalog-API wowza.com xero.com/xero_accounting zuora.com";
const BAR: f64 = 0.95;
/// What each of these alone has to reach, on the mean of as many fillings: which parameters have slugs is left to chance.
const BY_THEMSELVES: [&str; 3] = ["github.com", "kubernetes.io", "stripe.com"];
const FILLINGS: usize = 8;
const WORDS: &str = "red green apple house my first post hello world great summer winter market garden river stone paper train music \
    ocean light night forest cloud silver golden quick brown little happy north south east west bird fish tiger bear wolf fox \
    tree leaf rose lily bread cheese coffee tea sugar salt";

/// `SplitMix64`: the same numbers for the same seed, whatever the platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = self.below(at + 1);
            list.swap(at, other);
        }
    }
}

const KINDS: usize = 7;

/// A value of a kind: a number, a UUID, a hash or token, a slug, an e-mail address, a date, a word of another script as it is sent.
fn value(kind: usize, random: &mut Random, words: &[&str]) -> String {
    match kind {
        0 => {
            let digits = 1 + random.below(9) as u32;
            (random.next() % 10_u64.pow(digits)).to_string()
        }
        1 => {
            let (high, low) = (random.next(), random.next());
            format!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                high >> 32,
                high & 0xFFFF,
                high >> 16 & 0xFFF,
                low >> 52,
                low & 0xFFFF_FFFF_FFFF
            )
        }
        2 => match random.below(3) {
            0 => format!("{:07x}", random.next() & 0xFFF_FFFF),
            1 => format!("{:016x}{:016x}{:08x}", random.next(), random.next(), random.next() >> 32),
            _ => {
                let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                (0..22).map(|_| char::from(letters[random.below(letters.len())])).collect()
            }
        },
        3 => match random.below(4) {
            0 => format!("{}{}", random.of(words), random.of(words)),
            more => {
                let slug: Vec<&str> = (0..=more).map(|_| random.of(words)).collect();
                let end = if random.below(5) == 0 { format!("-{}", random.below(9)) } else { String::new() };
                slug.join("-") + &end
            }
        },
        4 => format!("{}.{}@example.com", random.of(words), random.of(words)),
        5 => format!("20{:02}-{:02}-{:02}", random.below(30), 1 + random.below(12), 1 + random.below(28)),
        _ => {
            let letters = ["日", "本", "語", "é", "ü", "ß", "ж", "д"];
            let word: String = (0..2 + random.below(4)).map(|_| random.of(&letters)).collect();
            word.bytes().map(|byte| format!("%{byte:02X}")).collect()
        }
    }
}

/// Requests of an interface in random order: 30 to 200 of each template. A parameter has values of one kind, every fifth of which was there
/// before.
fn requests(templates: &[String], random: &mut Random) -> Vec<String> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut parameters: HashMap<&str, (usize, Vec<String>)> = HashMap::new();
    let mut paths = Vec::new();
    for template in templates {
        for _ in 0..30 + random.below(170) {
            let mut path = String::new();
            for segment in template.split('/').skip(1) {
                path.push('/');
                if !segment.starts_with('{') {
                    path += segment;
                    continue;
                }
                let first = random.below(KINDS);
                let (kind, known) = parameters.entry(segment).or_insert_with(|| (first, Vec::new()));
                if random.below(5) == 0 && !known.is_empty() {
                    path += &known[random.below(known.len())];
                } else {
                    known.push(value(*kind, random, &words));
                    path += known.last().unwrap();
                }
            }
            paths.push(path);
        }
    }
    random.shuffle(&mut paths);
    paths
}

/// A template as the learner would write it.
fn as_route(template: &str) -> String {
    let segments = template.split('/').skip(1);
    segments.map(|segment| if segment.contains('{') { "/{id}".to_owned() } else { format!("/{segment}") }).collect()
}

#[derive(Clone, Copy)]
struct Figures {
    precision: f64,
    recall: f64,
    /// Requests with their right route.
    right: f64,
    /// Routes that there were while it was learnt.
    at_first: usize,
}

/// Lets the learner see the first half of an interface's requests, and judges the routes that it gives to the second.
fn evaluate(templates: &[String], random: &mut Random) -> Figures {
    let truth: BTreeSet<String> = templates.iter().map(|template| as_route(template)).collect();
    // More than any has: what is beyond the limit has no route of its own.
    let mut router = Router::new(RouteConfig { max_routes: 5000, ..RouteConfig::default() });
    let mut routes = Routes::default();
    let mut route = |path: &String| router.route(&mut routes, path, Some(200)).unwrap().to_string();
    let paths = requests(templates, random);
    let (first, second) = paths.split_at(paths.len() / 2);
    let at_first: BTreeSet<String> = first.iter().map(&mut route).collect();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    second.iter().for_each(|path| *found.entry(route(path)).or_default() += 1);
    let right = found.iter().filter(|(route, _)| truth.contains(*route));
    let (hits, requests) = right.fold((0, 0), |(hits, requests), (_, count)| (hits + 1, requests + count));
    Figures {
        precision: f64::from(hits) / found.len() as f64,
        recall: f64::from(hits) / truth.len() as f64,
        right: requests as f64 / second.len() as f64,
        at_first: at_first.len(),
    }
}

#[test]
fn routes_of_real_interfaces_are_recovered_from_their_paths() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env::var("ROUTES_SEED").map_or(now, |seed| seed.parse().unwrap());
    println!("ROUTES_SEED={seed}");
    let documents = fs::read_to_string(need::made("openapi").join("paths.json")).unwrap();
    let documents: BTreeMap<String, Vec<String>> = serde_json::from_str(&documents).unwrap();
    let tuned_with: BTreeSet<&str> = TUNED_WITH.split_whitespace().collect();
    assert!(tuned_with.iter().all(|name| documents.contains_key(*name)), "{:?}", documents.keys());
    let mut held_out = Vec::new();
    let mut tuned = Vec::new();
    let mean = |list: &[Figures], of: fn(&Figures) -> f64| list.iter().map(of).sum::<f64>() / list.len() as f64;
    for (at, (name, templates)) in documents.iter().enumerate() {
        let is_by_itself = BY_THEMSELVES.contains(&name.as_str());
        let fillings: Vec<Figures> = (0..if is_by_itself { FILLINGS } else { 1 })
            .map(|filling| evaluate(templates, &mut Random(seed.wrapping_add((1000 * filling + at) as u64))))
            .collect();
        let (precision, recall) = (mean(&fillings, |it| it.precision), mean(&fillings, |it| it.recall));
        let is_held_out = !tuned_with.contains(name.as_str());
        println!(
            "{} {name}: {} templates; precision {precision:.3}, recall {recall:.3}; {:.4} of requests have the right route; {:.0} routes at first",
            if is_held_out { "held out" } else { "tuned with" },
            templates.len(),
            mean(&fillings, |it| it.right),
            mean(&fillings, |it| it.at_first as f64),
        );
        assert!(!is_by_itself || precision >= BAR && recall >= BAR, "{name}, ROUTES_SEED={seed}");
        if is_held_out { &mut held_out } else { &mut tuned }.push(fillings[0]);
    }
    for (list, what) in [(&held_out, "held out"), (&tuned, "tuned with")] {
        let (precision, recall) = (mean(list, |figures| figures.precision), mean(list, |figures| figures.recall));
        println!("{} {what}: mean precision {precision:.3}, mean recall {recall:.3}", list.len());
    }
    assert!(held_out.len() > 40, "{}", held_out.len());
    let (precision, recall) = (mean(&held_out, |figures| figures.precision), mean(&held_out, |figures| figures.recall));
    assert!(precision >= BAR && recall >= BAR, "ROUTES_SEED={seed}: precision {precision:.3}, recall {recall:.3}");
}
