package pipeline

const (
	// steadyBlock is the side, in pixels of the crop, of the blocks over which two
	// consecutive crops are compared.
	steadyBlock = 16
	// steadyChange is the mean change of a block, on the scale of 0 to 1, from which on
	// nothing of the picture before is used: what moves is never mixed.
	steadyChange = 8.0 / 255
	// steadyShare is the part that the picture before has where nothing changes. With it
	// the model's own flicker falls to a third: of independent changes from picture to
	// picture, √((1−a)²/(1+a)) is left.
	steadyShare = 0.6
)

// steady takes the model's own flicker out of a restored crop: what it adds to
// the face becomes a running mean along the track, wherever the crops
// before the model hold still. All are planar RGB of size×size; after is changed.
func steady(before, after, lastBefore, lastAfter []float32, size int) {
	n := size * size
	blocks := (size + steadyBlock - 1) / steadyBlock
	share := make([]float32, blocks*blocks)
	for by := range blocks {
		for bx := range blocks {
			share[by*blocks+bx] = stillness(before, lastBefore, size, bx*steadyBlock, by*steadyBlock)
		}
	}
	row := make([]float32, size)
	for y := range size {
		shareRow(row, share, blocks, y)
		for c := range 3 {
			at := c*n + y*size
			b, a := before[at:][:size], after[at:][:size]
			lb, la := lastBefore[at:][:size], lastAfter[at:][:size]
			for x, w := range row {
				change := a[x] - b[x]
				a[x] = min(max(b[x]+change+w*(la[x]-lb[x]-change), 0), 1)
			}
		}
	}
}

// stillness is the share of the picture before in a block: steadyShare where
// nothing changes, 0 where steadyChange or more does.
func stillness(a, b []float32, size, x0, y0 int) float32 {
	return steadyShare * max(0, 1-blockChange(a, b, size, x0, y0)/steadyChange)
}

// blockChange is the mean absolute difference of two crops in the block from (x0, y0).
func blockChange(a, b []float32, size, x0, y0 int) float32 {
	x1, y1 := min(x0+steadyBlock, size), min(y0+steadyBlock, size)
	var sum float32
	for c := range 3 {
		for y := y0; y < y1; y++ {
			at := (c*size+y)*size + x0
			p, q := a[at:][:x1-x0], b[at:][:x1-x0]
			for i, v := range p {
				d := v - q[i]
				sum += max(d, -d)
			}
		}
	}
	return sum / float32(3*(x1-x0)*(y1-y0))
}

// shareRow interpolates the blocks' shares, which stand for their centres, along row y.
func shareRow(row, share []float32, blocks, y int) {
	v := max(0, (float32(y)+0.5)/steadyBlock-0.5)
	j := min(int(v), blocks-1)
	k, fy := min(j+1, blocks-1), v-float32(j)
	top, bottom := share[j*blocks:][:blocks], share[k*blocks:][:blocks]
	for x := range row {
		u := max(0, (float32(x)+0.5)/steadyBlock-0.5)
		i := min(int(u), blocks-1)
		l, fx := min(i+1, blocks-1), u-float32(i)
		a := top[i] + fx*(top[l]-top[i])
		b := bottom[i] + fx*(bottom[l]-bottom[i])
		row[x] = a + fy*(b-a)
	}
}
