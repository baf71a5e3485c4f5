package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"io"
	"math/bits"
)

// bmpHeaders are the sizes of the known BMP headers: OS/2, Windows 3 to 5.
var bmpHeaders = map[int]bool{12: true, 40: true, 52: true, 56: true, 64: true, 108: true, 124: true}

// bmpFile is a BMP without its pixels.
type bmpFile struct {
	w, h    int
	topDown bool
	bits    int       // per pixel in the source
	mask    [4]uint32 // of 16 and 32 bits: R, G, B, A
	palette [][3]byte
	offset  int
	head    []byte // all before the pixels
	tail    []byte // all behind them (a version 5 header's ICC profile)
	bands   int    // 1, 3 or 4
	notes   []string
}

func (f *bmpFile) stride() int { return (f.w*f.bits + 31) / 32 * 4 }

func (f *bmpFile) info() Info {
	return Info{Format: "bmp", Width: f.w, Height: f.h, Depth: 8, Bands: f.bands, HasAlpha: f.bands == 4, Orientation: 1, Notes: f.notes}
}

// parseBMP reads an uncompressed BMP's header and palette.
func parseBMP(b []byte, limit int64) (*bmpFile, error) {
	le := binary.LittleEndian
	if len(b) < 26 {
		return nil, fmt.Errorf("%w: BMP header is cut off", ErrDamaged)
	}
	f := &bmpFile{offset: int(le.Uint32(b[10:])), bands: 3}
	hs := int(le.Uint32(b[14:]))
	if !bmpHeaders[hs] || len(b) < 14+hs {
		return nil, fmt.Errorf("%w: BMP header is cut off", ErrDamaged)
	}
	compression, colours, entry := 0, 0, 4
	if hs == 12 {
		f.w, f.h, f.bits, entry = int(le.Uint16(b[18:])), int(le.Uint16(b[20:])), int(le.Uint16(b[24:])), 3
	} else {
		f.w, f.h, f.bits = int(int32(le.Uint32(b[18:]))), int(int32(le.Uint32(b[22:]))), int(le.Uint16(b[28:]))
		compression, colours = int(le.Uint32(b[30:])), int(le.Uint32(b[46:]))
	}
	if f.h < 0 {
		f.h, f.topDown = -f.h, true
	}
	if f.w <= 0 || f.h <= 0 {
		return nil, fmt.Errorf("%w: BMP of %d×%d pixels", ErrDamaged, f.w, f.h)
	}
	if int64(f.w)*int64(f.h) > limit {
		return nil, fmt.Errorf("%w: %d×%d pixels, at most %d in all", ErrTooLarge, f.w, f.h, limit)
	}
	at := 14 + hs
	switch {
	case compression == 3 || compression == 6:
		if len(b) < 14+40+16 {
			return nil, fmt.Errorf("%w: BMP header is cut off", ErrDamaged)
		}
		n := 3
		if hs >= 56 || compression == 6 {
			n = 4
		}
		for i := range n {
			f.mask[i] = le.Uint32(b[54+4*i:])
		}
	case compression != 0:
		return nil, fmt.Errorf("%w: compressed BMP (kind %d); save it uncompressed", ErrUnsupported, compression)
	case f.bits == 16:
		f.mask = [4]uint32{0x7c00, 0x3e0, 0x1f}
	case f.bits == 32:
		f.mask = [4]uint32{0xff0000, 0xff00, 0xff}
	}
	if !map[int]bool{1: true, 4: true, 8: true, 16: true, 24: true, 32: true}[f.bits] {
		return nil, fmt.Errorf("%w: BMP of %d bits per pixel", ErrUnsupported, f.bits)
	}
	size := f.stride() * f.h
	if f.offset < at || f.offset > len(b) || size > len(b)-f.offset {
		return nil, fmt.Errorf("%w: BMP of %d bytes should have %d", ErrDamaged, len(b), f.offset+size)
	}
	if f.bits <= 8 {
		if colours <= 0 || colours > 1<<f.bits {
			colours = 1 << f.bits
		}
		f.readPalette(b[at:f.offset], colours, entry)
	}
	f.head, f.tail = bytes.Clone(b[:f.offset]), bytes.Clone(b[f.offset+size:])
	if f.mask[3] != 0 && f.visible(b) {
		f.bands = 4
	}
	f.explain()
	return f, nil
}

func (f *bmpFile) readPalette(b []byte, colours, entry int) {
	f.bands = 1
	for i := 0; i < colours && (i+1)*entry <= len(b); i++ {
		c := [3]byte{b[i*entry+2], b[i*entry+1], b[i*entry]}
		if c[0] != c[1] || c[1] != c[2] {
			f.bands = 3
		}
		f.palette = append(f.palette, c)
	}
}

// visible tells whether any pixel has alpha; many writers leave it all zero
// and mean opaque.
func (f *bmpFile) visible(b []byte) bool {
	px := f.bits / 8
	for y := range f.h {
		row := b[f.offset+y*f.stride():]
		for x := range f.w {
			if f.word(row[x*px:])&f.mask[3] != 0 {
				return true
			}
		}
	}
	return false
}

func (f *bmpFile) word(b []byte) uint32 {
	if f.bits == 16 {
		return uint32(binary.LittleEndian.Uint16(b))
	}
	return binary.LittleEndian.Uint32(b)
}

// explain notes what the output will have otherwise than the source.
func (f *bmpFile) explain() {
	switch {
	case f.inPlace():
	case f.bands == 1:
		f.notes = append(f.notes, fmt.Sprintf("%d-bit palette of grays becomes one of 256", f.bits))
	case f.bits <= 8:
		f.notes = append(f.notes, "palette expanded to full colours")
	default:
		f.notes = append(f.notes, fmt.Sprintf("%d-bit pixels become 8 bits per channel", f.bits))
	}
}

// inPlace tells whether new pixels fit into the source's own layout.
func (f *bmpFile) inPlace() bool {
	switch f.bits {
	case 8:
		return f.bands == 1 && f.grayIndex() != nil
	case 24:
		return true
	case 32:
		for i, m := range f.mask {
			if (i < 3 || f.bands == 4) && bits.OnesCount32(m) != 8 || m != 0 && m>>bits.TrailingZeros32(m) != 0xff {
				return false
			}
		}
		return true
	}
	return false
}

// grayIndex gives the palette index of each gray; nil unless there is one for all.
func (f *bmpFile) grayIndex() *[256]byte {
	var index [256]byte
	var have [256]bool
	n := 0
	for i, c := range f.palette {
		if !have[c[0]] {
			have[c[0]], index[c[0]] = true, byte(i)
			n++
		}
	}
	if n < 256 {
		return nil
	}
	return &index
}

// row is the offset, from the first pixel's, of row y as displayed.
func (f *bmpFile) row(y int) int {
	if !f.topDown {
		y = f.h - 1 - y
	}
	return y * f.stride()
}

// decode reads the pixels of the file b that f was parsed from.
func (f *bmpFile) decode(b []byte) image.Image {
	bands := f.bands
	if bands == 3 {
		bands = 4
	}
	img, pix := newImage(f.w, f.h, bands, 8)
	for y := range f.h {
		src := b[f.offset+f.row(y):][:f.stride()]
		dst := pix[y*f.w*bands:][:f.w*bands]
		for x := range f.w {
			c := f.pixel(src, x)
			if bands == 1 {
				dst[x] = c[0]
			} else {
				copy(dst[4*x:], c[:])
			}
		}
	}
	return img
}

func (f *bmpFile) pixel(row []byte, x int) [4]byte {
	switch f.bits {
	case 24:
		return [4]byte{row[3*x+2], row[3*x+1], row[3*x], 255}
	case 16, 32:
		v := f.word(row[x*f.bits/8:])
		c := [4]byte{3: 255}
		for i, m := range f.mask {
			if m != 0 && (i < 3 || f.bands == 4) {
				most := uint64(m >> bits.TrailingZeros32(m))
				c[i] = byte((uint64((v&m)>>bits.TrailingZeros32(m))*255 + most/2) / most)
			}
		}
		return c
	}
	bit := x * f.bits
	i := int(row[bit/8]>>(8-f.bits-bit%8)) & (1<<f.bits - 1)
	if i >= len(f.palette) {
		return [4]byte{3: 255}
	}
	c := f.palette[i]
	return [4]byte{c[0], c[1], c[2], 255}
}

// fresh is a plain BMP of f's size and resolution: gray, 24 or 32 bits.
func (f *bmpFile) fresh() *bmpFile {
	g := &bmpFile{w: f.w, h: f.h, bits: 8 * f.bands, bands: f.bands}
	le := binary.LittleEndian
	hs := 40
	if f.bands == 4 {
		hs, g.mask = 108, [4]uint32{0xff0000, 0xff00, 0xff, 0xff000000}
	}
	h := make([]byte, 14+hs, 14+hs+1024)
	le.PutUint32(h[14:], uint32(hs))
	le.PutUint32(h[18:], uint32(f.w))
	le.PutUint32(h[22:], uint32(f.h))
	le.PutUint16(h[26:], 1)
	le.PutUint16(h[28:], uint16(g.bits))
	le.PutUint32(h[34:], uint32(g.stride()*f.h))
	if len(f.head) >= 14+40 {
		copy(h[38:46], f.head[38:46]) // resolution
	}
	if f.bands == 4 {
		le.PutUint32(h[30:], 3)
		for i, m := range g.mask {
			le.PutUint32(h[54+4*i:], m)
		}
		copy(h[70:], "BGRs") // LCS_sRGB
	}
	if f.bands == 1 {
		for i := range 256 {
			h = append(h, byte(i), byte(i), byte(i), 0)
			g.palette = append(g.palette, [3]byte{byte(i), byte(i), byte(i)})
		}
	}
	copy(h, "BM")
	le.PutUint32(h[2:], uint32(len(h)+g.stride()*f.h))
	le.PutUint32(h[10:], uint32(len(h)))
	g.head = h
	return g
}

// write writes the file with new pixels (gray or NRGBA, rows without gaps), in
// the source's own layout where that can hold them.
func (f *bmpFile) write(w io.Writer, pix []byte) error {
	if !f.inPlace() {
		return f.fresh().write(w, pix)
	}
	index := f.grayIndex()
	bands := max(len(pix)/(f.w*f.h), 1)
	var shift [4]int
	for i, m := range f.mask {
		shift[i] = bits.TrailingZeros32(m)
	}
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	row := make([]byte, f.stride())
	for n := range f.h {
		y := n
		if !f.topDown {
			y = f.h - 1 - n
		}
		src := pix[y*f.w*bands:][:f.w*bands]
		for x := range f.w {
			switch f.bits {
			case 8:
				row[x] = index[src[x]]
			case 24:
				row[3*x], row[3*x+1], row[3*x+2] = src[4*x+2], src[4*x+1], src[4*x]
			default:
				v := uint32(src[4*x])<<shift[0] | uint32(src[4*x+1])<<shift[1] | uint32(src[4*x+2])<<shift[2]
				if f.bands == 4 {
					v |= uint32(src[4*x+3]) << shift[3]
				}
				binary.LittleEndian.PutUint32(row[4*x:], v)
			}
		}
		if _, err := w.Write(row); err != nil {
			return err
		}
	}
	_, err := w.Write(f.tail)
	return err
}
