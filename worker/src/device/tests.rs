use super::*;
use crate::error::EngineError;
use espalier_proto::recipe::Backend;
use tch::Device;

#[test]
fn a_device_that_is_not_there_is_refused_with_the_reason() {
    let why = |name: &str| match open(name, 2, None) {
        Err(EngineError::NoDevice { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(why("tpu").contains("expected cpu or cuda:N"));
    assert!(why("cuda:x").contains("expected cpu or cuda:N"));
    if !driver_is_there() {
        assert!(why("cuda:0").contains("no NVIDIA driver"));
        assert_eq!(gpu_count(), 0);
    }
    assert_eq!(open("cpu", 2, None).unwrap(), Device::Cpu);
    assert!(open("cpu", 3, None).unwrap_err().to_string().contains("2 threads pinned"));
}

#[test]
fn a_cuda_library_that_does_not_open_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libtorch_cuda.so");
    let why = || match open("cuda:0", 2, Some(&file)) {
        Err(EngineError::NoDevice { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    // Where CUDA is in this process already, no other file is opened.
    if std::env::var("ESPALIER_TEST_DEVICE").is_ok_and(|name| name != "cpu") {
        return;
    }
    assert!(why().contains("libtorch_cuda.so: No such file"), "{}", why());
    std::fs::write(&file, "not a library").unwrap();
    assert!(why().contains("libtorch_cuda.so cannot be opened: "), "{}", why());
}

#[test]
fn the_compiler_is_that_of_the_loaded_cuda() {
    let root = tempfile::tempdir().unwrap();
    let place = |folder: &str, name: &str| {
        let folder = root.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), "").unwrap();
        folder.join(name)
    };
    let names = ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"];
    // Packages of CUDA 13, packages of CUDA 12, a libtorch that brings its own; what is loaded of each, and where the compiler lies.
    let layouts = [
        ("13/nvidia/cu13/lib", "13/torch/lib", "13/nvidia/cu13/lib"),
        ("12/nvidia/cublas/lib", "12/torch/lib", "12/nvidia/cuda_nvrtc/lib"),
        ("own/lib", "own/lib", "own/lib"),
        ("usr/lib", "apart/lib", "apart/lib"),
    ];
    for (blas, torch, compiler) in layouts {
        let loaded = [
            place("cpu/lib", "libcudart.so.13"),
            place(torch, "libtorch_cuda.so"),
            place(blas, "libcublasLt.so.13"),
        ];
        assert_eq!(nvrtc::files(&loaded), Vec::<std::path::PathBuf>::new(), "{blas}");
        for other in ["libnvrtc.alt.so.13", "libnvrtc-builtins.alt.so.13.0", "libnvrtc.so"] {
            place(compiler, other);
        }
        let expected = names.map(|name| place(compiler, name));
        assert_eq!(nvrtc::files(&loaded), expected, "{blas}");
    }
}

#[test]
fn the_same_device_has_the_same_fingerprint() {
    open("cpu", 2, None).unwrap();
    let first = fingerprint(Device::Cpu);
    assert_eq!(first, fingerprint(Device::Cpu));
    assert!(first.starts_with("cpu-") && first.len() == 16, "{first}");
}

#[test]
fn a_short_measurement_gives_a_speed_that_a_cpu_can_have() {
    open("cpu", 2, None).unwrap();
    let speed = gflops(Device::Cpu, tch::Kind::Float, 130);
    // From an idle core of the slowest machine to hundreds of cores.
    assert!((0.05..100_000.0).contains(&speed), "{speed}");
}

#[test]
fn a_cpu_has_a_name_and_memory_and_no_allocator_figures() {
    let description = describe(Device::Cpu);
    assert_eq!(description.backend, Backend::Cpu);
    assert!(!description.name.is_empty() && description.memory_bytes > 1 << 28, "{description:?}");
    memory::reset_peaks(Device::Cpu);
    assert!(memory::rss_mib() > 1.0);
    assert_eq!(memory::peak_alloc_mib(Device::Cpu), None);
    assert!(memory::DeviceWatch::start(Device::Cpu).is_none());
}
