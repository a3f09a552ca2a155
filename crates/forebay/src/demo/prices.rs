//! A loopback price source: one of three says something wild.

use std::io::{Read, Write};
use std::net::TcpListener;

use anyhow::Result;

/// Serves one fixed answer for ever; says its address first.
pub(super) fn serve(btc: &str, eth: &str, usdx: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!(
        "{}",
        serde_json::json!({ "url": format!("http://{}/", listener.local_addr()?) })
    );
    let body = format!("{{\"BTC\": \"{btc}\", \"ETH\": \"{eth}\", \"USDX\": \"{usdx}\"}}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 2_048];
        // Whatever is asked, the answer is the same; a client that left needs none.
        let _ = stream
            .read(&mut request)
            .and_then(|_| stream.write_all(answer.as_bytes()));
    }
    Ok(())
}
