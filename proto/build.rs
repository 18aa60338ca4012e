//! Compiles the .proto files without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=espalier");
    let descriptors = protox::compile(["espalier/v1/worker.proto", "espalier/v1/sweeps.proto"], ["."])?;
    // A coordinator takes a map in every call, and keeps it in its order.
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
