package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Prefixes of JPEG's application segments.
const (
	sigJFIF   = "JFIF\x00"
	sigJFXX   = "JFXX\x00"
	sigEXIF   = "Exif\x00\x00"
	sigXMP    = "http://ns.adobe.com/xap/1.0/\x00"
	sigICC    = "ICC_PROFILE\x00"
	sigMPF    = "MPF\x00"
	maxJPEG   = 65533 // bytes of payload a segment can hold
	maxXMPseg = maxJPEG - len(sigXMP)
)

// segment is a JPEG marker segment: marker FF<m>, payload without its length.
type segment struct {
	m byte
	b []byte
}

func (s segment) has(m byte, sig string) bool { return s.m == m && bytes.HasPrefix(s.b, []byte(sig)) }
func (s segment) size() int                   { return 4 + len(s.b) }

// jpegFile is a JPEG without its pixels.
type jpegFile struct {
	segs        []segment // kept ones, in order
	trailer     []byte    // what follows the end of the picture
	primary     int       // bytes from the file's start to the end of the picture
	mpf         int       // offset in the file of the MPF segment's TIFF header
	orient      int
	quality     int
	progressive bool
	oldXMP      []byte
}

func (j *jpegFile) orientation() int { return j.orient }
func (j *jpegFile) xmp() []byte      { return j.oldXMP }

// parseJPEG collects a JPEG's segments. s.cmyk drops what describes CMYK.
func parseJPEG(b []byte, s *source) (*jpegFile, error) {
	j := &jpegFile{orient: 1}
	var dqt []byte
	pos, err := walkJPEG(b, func(pos int, g segment) {
		switch {
		case g.m == 0xdb:
			dqt = append(dqt, g.b...)
		case g.m == 0xc2:
			j.progressive = true
		case g.m >= 0xe0 && g.m <= 0xef, g.m == 0xfe:
			j.keep(pos, g, s)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	j.quality = jpegQuality(dqt)
	j.primary = endOfJPEG(b, pos)
	if len(b) > j.primary {
		j.trailer = bytes.Clone(b[j.primary:])
	}
	if len(bytes.Trim(j.trailer, "\x00\xff")) > 0 {
		s.note(fmt.Sprintf("%d bytes after the picture (second pictures, motion video) kept as they were", len(j.trailer)))
	}
	return j, nil
}

// keep takes an application segment or comment over unless it describes the
// old pixels.
func (j *jpegFile) keep(pos int, g segment, s *source) {
	g.b = bytes.Clone(g.b)
	switch {
	case g.has(0xe0, sigJFXX), g.m == 0xee && bytes.HasPrefix(g.b, []byte("Adobe")):
		return // a thumbnail; how the old pixels are coded
	case g.has(0xe0, sigJFIF):
		if len(g.b) > 14 {
			g.b = append(g.b[:12:12], 0, 0) // its thumbnail
		}
	case g.has(0xe2, sigICC) && s.cmyk:
		return
	case g.has(0xe2, sigMPF):
		j.mpf = pos + 4 + len(sigMPF)
	case g.m == 0xeb:
		s.note("content credentials or other boxes that describe the old pixels dropped")
		return
	case g.has(0xe1, sigXMP) && j.oldXMP == nil:
		j.oldXMP = g.b[len(sigXMP):]
	case g.has(0xe1, sigEXIF):
		x := dropThumbnail(g.b[len(sigEXIF):])
		g.b = g.b[:len(sigEXIF)+len(x)]
		if j.orient == 1 {
			j.orient = exifOrientation(x)
		}
	}
	j.segs = append(j.segs, g)
}

// walkJPEG calls f for each segment before the first scan, with its offset,
// and returns the offset of that scan's marker.
func walkJPEG(b []byte, f func(pos int, g segment)) (int, error) {
	for pos := 2; ; {
		for pos+1 < len(b) && (b[pos] != 0xff || b[pos+1] == 0xff) {
			pos++ // fill bytes
		}
		if pos+4 > len(b) {
			return 0, fmt.Errorf("JPEG ends before its first scan")
		}
		m := b[pos+1]
		if m == 0xda {
			return pos, nil
		}
		if m == 0x01 || m == 0x00 || m >= 0xd0 && m <= 0xd8 {
			pos += 2
			continue
		}
		n := int(binary.BigEndian.Uint16(b[pos+2:]))
		if n < 2 || pos+2+n > len(b) {
			return 0, fmt.Errorf("JPEG segment FF%02X at byte %d has a wrong length", m, pos)
		}
		f(pos, segment{m, b[pos+4 : pos+2+n]})
		pos += 2 + n
	}
}

// endOfJPEG returns the offset behind the EOI marker that ends the scans from pos on.
func endOfJPEG(b []byte, pos int) int {
	for pos+1 < len(b) {
		i := bytes.IndexByte(b[pos:], 0xff)
		if i < 0 || pos+i+1 >= len(b) {
			break
		}
		pos += i
		switch m := b[pos+1]; {
		case m == 0xd9:
			return pos + 2
		case m == 0xff:
			pos++
		case m == 0 || m == 1 || m >= 0xd0 && m <= 0xd8:
			pos += 2
		default:
			if pos+4 > len(b) {
				return len(b)
			}
			pos += 2 + int(binary.BigEndian.Uint16(b[pos+2:]))
		}
	}
	return len(b)
}

// MinJPEGQuality is the least quality a JPEG is written with: under it a
// restored face would be blocked up again.
const MinJPEGQuality = 75

func (j *jpegFile) encoding() encoding {
	return encoding{kind: kindJPEG, quality: max(j.quality, MinJPEGQuality), progressive: j.progressive}
}

func (j *jpegFile) write(w io.Writer, encoded []byte, p patch) error {
	segs := j.patched(p)
	start := 2
	if len(encoded) > 20 && encoded[3] == 0xe0 { // the encoder's own JFIF header
		start = 4 + int(binary.BigEndian.Uint16(encoded[4:]))
	}
	size := 2 + len(encoded) - start
	for _, g := range segs {
		size += g.size()
	}
	pos := 2
	if _, err := w.Write(encoded[:2]); err != nil {
		return err
	}
	for _, g := range segs {
		if g.has(0xe2, sigMPF) {
			g.b = bytes.Clone(g.b)
			moveMPF(g.b[len(sigMPF):], size, (size-j.primary)-(pos+4+len(sigMPF)-j.mpf))
		}
		if len(g.b) > maxJPEG {
			return fmt.Errorf("JPEG segment FF%02X is too long: %d bytes", g.m, len(g.b))
		}
		head := []byte{0xff, g.m, 0, 0}
		binary.BigEndian.PutUint16(head[2:], uint16(len(g.b)+2))
		if _, err := w.Write(append(head, g.b...)); err != nil {
			return err
		}
		pos += g.size()
	}
	if _, err := w.Write(encoded[start:]); err != nil {
		return err
	}
	_, err := w.Write(j.trailer)
	return err
}

// patched returns the segments with p's metadata in place of the old.
func (j *jpegFile) patched(p patch) []segment {
	var segs []segment
	at := 0 // where a new XMP segment goes: behind JFIF and EXIF
	done := p.xmp == nil
	for _, g := range j.segs {
		if p.icc != nil && g.has(0xe2, sigICC) {
			continue
		}
		if !done && g.has(0xe1, sigXMP) {
			g.b = append([]byte(sigXMP), p.xmp...)
			done = true
		}
		segs = append(segs, g)
		if g.has(0xe0, sigJFIF) || g.has(0xe1, sigEXIF) {
			at = len(segs)
		}
	}
	var add []segment
	if !done {
		add = append(add, segment{0xe1, append([]byte(sigXMP), p.xmp...)})
	}
	add = append(add, iccSegments(p.icc)...)
	return append(segs[:at:at], append(add, segs[at:]...)...)
}

// iccSegments cuts a profile into APP2 segments.
func iccSegments(icc []byte) []segment {
	const room = maxJPEG - len(sigICC) - 2
	n := (len(icc) + room - 1) / room
	var segs []segment
	for i := range n {
		part := icc[i*room : min(len(icc), (i+1)*room)]
		b := append([]byte(sigICC), byte(i+1), byte(n))
		segs = append(segs, segment{0xe2, append(b, part...)})
	}
	return segs
}

// moveMPF corrects a multi-picture index in place (CIPA DC-007): the first
// picture's size, and the others' offsets, which all move by delta.
func moveMPF(b []byte, size, delta int) {
	t, err := newTIFF(b)
	if err != nil {
		return
	}
	entries, _, err := t.ifd(t.first)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.tag != 0xb002 {
			continue
		}
		for v := e.val; len(v) >= 16; v = v[16:] {
			if off := t.order.Uint32(v[8:]); off == 0 {
				t.order.PutUint32(v[4:], uint32(size))
			} else {
				t.order.PutUint32(v[8:], uint32(int(off)+delta))
			}
		}
	}
}

// Sums of the quantisation tables that the JPEG standard gives in Annex K for
// luminance and chrominance, by which libjpeg's quality is scaled.
var annexK = [2][64]int{
	{16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
		18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99},
	{17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
		99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99},
}

// jpegQuality estimates libjpeg's quality, 1 to 100, from the payloads of DQT
// segments, by the sums of tables 0 and 1; those of other encoders get the
// quality that divides as finely. Nothing usable: 90.
func jpegQuality(dqt []byte) int {
	var sum [2]int
	var have [2]bool
	for len(dqt) > 0 {
		size, id := 64, int(dqt[0]&15)
		wide := dqt[0]>>4 != 0
		if wide {
			size = 128
		}
		if len(dqt) < 1+size {
			break
		}
		if id < 2 {
			sum[id], have[id] = 0, true
			for i := 0; i < size; i++ {
				v := int(dqt[1+i])
				if wide {
					i++
					v = v<<8 | int(dqt[1+i])
				}
				sum[id] += v
			}
		}
		dqt = dqt[1+size:]
	}
	if !have[0] {
		return 90
	}
	best, bestErr := 90, -1
	for q := 100; q >= 1; q-- {
		d := 0
		for id := range 2 {
			if have[id] {
				d += abs(sum[id] - tableSum(id, q))
			}
		}
		if bestErr < 0 || d < bestErr {
			best, bestErr = q, d
		}
	}
	return best
}

// tableSum is the sum of libjpeg's table at quality q (jpeg_quality_scaling).
func tableSum(id, q int) int {
	scale := 200 - 2*q
	if q < 50 {
		scale = 5000 / q
	}
	sum := 0
	for _, v := range annexK[id] {
		sum += min(max((v*scale+50)/100, 1), 255)
	}
	return sum
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}
