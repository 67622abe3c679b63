use beyla_rs::capture::*;
fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let b = std::env::args().nth(1).unwrap().parse().unwrap();
    let t=std::time::Instant::now();
    let mut c = Capture::start(&Options { backends: vec![b], ..Default::default() }).unwrap();
    eprintln!("started {:?} {}", t.elapsed(), c.backend());
    for p in std::env::args().skip(2) { c.watch(p.parse().unwrap()).unwrap(); }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(4);
    while std::time::Instant::now() < end { c.wait(std::time::Duration::from_millis(5)); c.drain(100000, |e| match e { event::Event::Data{header,head,tail} => println!("{header:?} {:?} {:?}", String::from_utf8_lossy(&head[..head.len().min(60)]), String::from_utf8_lossy(tail)), e=> println!("{e:?}") }); }
    println!("{:?}", c.counts());
}
