//! A server on this machine.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use burn::backend::NdArray;
use burn_remote::RemoteDevice;
use burn_remote::server::start_websocket;

/// The longest time that a server takes until it answers.
const START: Duration = Duration::from_secs(30);

/// Starts a server that computes on `NdArray`, and waits until it answers. It ends with the program: Burn has no other way.
pub fn start() -> Result<RemoteDevice, Box<dyn Error>> {
    // Burn takes a number, and no listener: the port is free until somebody else is faster.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    thread::spawn(move || start_websocket::<NdArray>(Default::default(), port));
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if started.elapsed() > START {
            return Err(format!("nobody answers on port {port}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(RemoteDevice::new(&format!("ws://127.0.0.1:{port}")))
}
