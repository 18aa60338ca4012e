//! Masks between bits in memory and bools on a device. Shapes: O = output features, I = input features, K = ⌈I / 8⌉.

use espalier_proto::checkpoint::Mask;
use tch::{Device, Kind, Tensor};

/// Bits → bool `[O, I]` on `device`, true = kept. Only the bits travel.
pub fn unpack(mask: &Mask, device: Device) -> Tensor {
    let (rows, columns) = (mask.rows() as i64, mask.columns() as i64);
    let bytes_ok = Tensor::from_slice(mask.bits()).view([rows, -1, 1]).to_device(device);
    let kept = bytes_ok.bitwise_and_tensor(&places(device)).ne(0);
    kept.view([rows, -1]).narrow(1, 0, columns)
}

/// Bool `[O, I]` on any device, true = kept → bits. Only the bits travel.
pub fn pack(kept_oi: &Tensor) -> Mask {
    let (rows, columns) = (kept_oi.size()[0], kept_oi.size()[1]);
    let stride = (columns + 7) / 8;
    let padded = kept_oi.to_kind(Kind::Uint8).constant_pad_nd([0, stride * 8 - columns]);
    let bytes_ok = (padded.view([rows, stride, 8]) * places(kept_oi.device())).sum_dim_intlist(
        &[-1i64][..],
        false,
        Kind::Uint8,
    );
    let bits: Vec<u8> =
        Vec::try_from(&bytes_ok.view([-1]).to_device(Device::Cpu)).expect("one-dimensional u8");
    Mask::from_bits(rows as usize, columns as usize, bits).expect("padding was zero")
}

/// The value of each bit of a byte, lowest first.
fn places(device: Device) -> Tensor {
    Tensor::from_slice(&[1u8, 2, 4, 8, 16, 32, 64, 128]).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_comes_back_from_its_bits_at_every_width() {
        for columns in 1..20i64 {
            let kept =
                Tensor::arange(3 * columns, (Kind::Int64, Device::Cpu)).remainder(3).ne(1).view([3, columns]);
            let flat: Vec<u8> = Vec::try_from(&kept.to_kind(Kind::Uint8).view([-1])).unwrap();
            let mask = pack(&kept);
            // Oracle: the plain loop of the contract's own packing.
            assert_eq!(mask, Mask::from_kept(3, columns as usize, &flat));
            assert!(unpack(&mask, Device::Cpu).equal(&kept));
        }
    }
}
