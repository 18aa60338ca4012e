//! Lets the built worker find libtorch without any environment variable.

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
    // An installed layout: bin/espalier-worker beside lib/libtorch_cpu.so.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
}
