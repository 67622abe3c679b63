use beyla_rs::{capture::*, procs::fs::ProcFs, tls::{Attachments, Finder}};
fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let b = args.next().unwrap().parse().unwrap();
    let secs: u64 = args.next().unwrap().parse().unwrap();
    let t=std::time::Instant::now();
    let mut c = Capture::start(&Options { backends: vec![b], ..Default::default() }).unwrap();
    eprintln!("started {:?} {}", t.elapsed(), c.backend());
    let finder = Finder::start(ProcFs::new("/proc")).unwrap();
    let mut at = Attachments::default();
    for p in args { let p = p.parse().unwrap(); c.watch(p).unwrap(); finder.look(p); }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(secs);
    while std::time::Instant::now() < end {
        while let Some(f) = finder.next() { let t=std::time::Instant::now(); at.on_finding(&f, &mut c); eprintln!("attached {} in {:?}", f.tgid, t.elapsed()); }
        c.wait(std::time::Duration::from_millis(5));
        c.drain(100000, |e| match e {
            event::Event::Data{header,head,tail} => println!("{} {:x} dir={} fl={} len={} h={} t={} pos={} other={} {:?} {:?}", header.tgid, header.conn, header.direction, header.flags, header.len, head.len(), tail.len(), header.position, header.other_position, String::from_utf8_lossy(&head[..head.len().min(60)]), String::from_utf8_lossy(tail)),
            event::Event::Open(o) => println!("open {:x} fam={} {}->{}", o.conn, o.family, o.local_port, o.remote_port),
            event::Event::Bind(o) => println!("bind {:x} to {:x}", o.conn, o.carrier),
            event::Event::State(o) => println!("state {:x} {}", o.conn, o.state),
            e=> println!("{e:?}") });
    }
    println!("{:?}", c.counts());
}
