package paste

import "math"

// kernel holds the weights of a cubic convolution (R. Keys, IEEE ASSP 29(6),
// 1981, a = −½) stretched to take in all crop pixels that fall on one photo
// pixel, for evenly spaced phases between two crop pixels.
type kernel struct {
	reach  int // weights a side
	phases int
	weight []float32 // (phases+1) × 2·reach, each row adds up to 1
}

// newKernel makes the weights for width crop pixels a photo pixel; below 1,
// where the crop is enlarged, it interpolates.
func newKernel(width float64) kernel {
	width = max(width, 1)
	k := kernel{reach: int(math.Ceil(2*width - 1e-9))}
	k.phases = max(32, int(1024/width))
	n := 2 * k.reach
	k.weight = make([]float32, (k.phases+1)*n)
	for p := range k.phases + 1 {
		row := k.weight[p*n:][:n]
		var sum float64
		at := func(i int) float64 {
			return keys((float64(i-k.reach+1) - float64(p)/float64(k.phases)) / width)
		}
		for i := range row {
			sum += at(i)
		}
		for i := range row {
			row[i] = float32(at(i) / sum)
		}
	}
	return k
}

func keys(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x < 1:
		return 1 + x*x*(1.5*x-2.5)
	case x < 2:
		return 2 + x*(-4+x*(2.5-0.5*x))
	}
	return 0
}

// place gives the index of the first neighbour of position v and its weights.
func (k *kernel) place(v float64) (first int, weight []float32) {
	whole := math.Floor(v)
	p := int((v-whole)*float64(k.phases) + 0.5)
	return int(whole) - k.reach + 1, k.weight[p*2*k.reach:][:2*k.reach]
}
