//! scratch
use burn_int8::kernel::*;
use std::time::Instant;
fn main(){
    let only=std::env::args().nth(1);
    for (m,k,n) in [(1usize,768usize,768usize),(1,1152,6912),(1,4096,4096),(8,1024,1024),(64,1024,1024),(128,768,3072),(128,3072,768),(512,1024,1024),(256,4096,4096)] {
        let w:Vec<f32>=(0..k*n).map(|i|((i*7919%2003) as f32/1001.5-1.)*0.05).collect(); let x:Vec<f32>=(0..m*k).map(|i|(i*104729%1999) as f32/999.5-1.).collect(); let bias=vec![0.1f32;n];
        let t=Instant::now(); let (p,_)=Packed::quantize(&w,[k,n],Levels::SYMMETRIC).unwrap(); let tp=t.elapsed();
        println!("M={m} K={k} N={n}  pack {tp:?}");
        for kernel in supported() { if only.as_ref().is_some_and(|o|o!=kernel.name()) {continue;}
            for mode in ["dyn","float"] {
            let mut run=||{ let mut out=vec![0f32;m*n]; if mode=="dyn" { dynamic(kernel,&x,Levels::SYMMETRIC,&p,Some(&bias),&mut out);} else {float_activations(kernel,&x,&p,Some(&bias),&mut out);} std::hint::black_box(out); };
            run(); let t0=Instant::now(); run(); let it=((0.01/t0.elapsed().as_secs_f64()) as usize).clamp(1,2000);
            let mut v=vec![]; for _ in 0..11 { let t=Instant::now(); for _ in 0..it { run(); } v.push(t.elapsed().as_secs_f64()/it as f64); }
            v.sort_by(f64::total_cmp); let t=v[v.len()/2];
            println!("  {:<14} {mode:<5} {:.1} us (min {:.1})  {:.0} Gop/s", kernel.name(), t*1e6, v[0]*1e6, 2.*(m*k*n) as f64/t/1e9);
        }}
    }
}
