fn main() {
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let spans = beyla_rs::internals::replay(&text, beyla_rs::internals::telemetry::Config::default()).unwrap();
    println!("{}", spans.len());
}
