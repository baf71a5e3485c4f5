package restore

import (
	"encoding/binary"
	"fmt"
	"math"

	ort "github.com/yalue/onnxruntime_go"
)

// newTensor makes a tensor of the type that the model's input has. Values are
// converted from float32: images, noise, and small whole numbers lose nothing.
func newTensor(dtype ort.TensorElementDataType, shape ort.Shape, data []float32) (ort.Value, error) {
	switch dtype {
	case ort.TensorElementDataTypeFloat:
		return ort.NewTensor(shape, data)
	case ort.TensorElementDataTypeDouble:
		return ort.NewTensor(shape, convert[float64](data))
	case ort.TensorElementDataTypeInt64:
		return ort.NewTensor(shape, convert[int64](data))
	case ort.TensorElementDataTypeInt32:
		return ort.NewTensor(shape, convert[int32](data))
	case ort.TensorElementDataTypeFloat16:
		b := make([]byte, 0, 2*len(data))
		for _, v := range data {
			b = binary.LittleEndian.AppendUint16(b, toHalf(v))
		}
		return ort.NewCustomDataTensor(shape, b, dtype)
	}
	return nil, fmt.Errorf("its type %s isn't supported: want float32, float16, float64, int64 or int32", dtype)
}

func convert[T float64 | int64 | int32](data []float32) []T {
	out := make([]T, len(data))
	for i, v := range data {
		out[i] = T(v)
	}
	return out
}

// emptyTensor makes the tensor that a run writes its output to.
func emptyTensor(dtype ort.TensorElementDataType, shape ort.Shape) (ort.Value, error) {
	switch dtype {
	case ort.TensorElementDataTypeFloat:
		return ort.NewEmptyTensor[float32](shape)
	case ort.TensorElementDataTypeFloat16:
		return ort.NewCustomDataTensor(shape, make([]byte, 2*shape.FlattenedSize()), dtype)
	}
	return nil, fmt.Errorf("its type %s isn't supported: want float32 or float16", dtype)
}

// floats returns the values of a tensor made by emptyTensor.
func floats(v ort.Value) []float32 {
	if t, ok := v.(*ort.Tensor[float32]); ok {
		return t.GetData()
	}
	b := v.(*ort.CustomDataTensor).GetData()
	out := make([]float32, len(b)/2)
	for i := range out {
		out[i] = fromHalf(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return out
}

// toHalf rounds to the nearest IEEE 754 binary16, ties to even.
func toHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	switch abs := b & 0x7fffffff; {
	case abs > 0x7f800000: // not a number
		return sign | 0x7e00
	case abs >= 0x477ff000: // rounds to 65520 or more: infinite
		return sign | 0x7c00
	case abs < 0x38800000: // below 2^-14: subnormal, a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(abs))*(1<<24)))
	default:
		abs += 0xfff + abs>>13&1 // round the 13 bits that go
		return sign | uint16((abs-0x38000000)>>13)
	}
}

// fromHalf is exact.
func fromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		v := float32(frac) / (1 << 24)
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
