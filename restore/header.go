package restore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	ort "github.com/yalue/onnxruntime_go"
)

// A header is what an ONNX file says of its network. ONNX Runtime tells the
// same, but loads and optimises the whole network for each question.
type header struct {
	ports
	metadata map[string]string
}

// Bounds of what is kept of a file.
const (
	maxHeaderText  = 1 << 20 // bytes of a name or a value
	maxHeaderItems = 100_000 // inputs, outputs, initializers, metadata
)

// Numbers of fields in onnx.proto.
const (
	modelGraph, modelMetadata                   = 7, 14
	graphInitializer, graphInput, graphOutput   = 5, 11, 12
	entryKey, entryValue                        = 1, 2
	tensorName                                  = 8
	infoName, infoType                          = 1, 2
	typeTensor                                  = 1
	tensorElem, tensorShape, shapeDim, dimValue = 1, 2, 1, 1
)

// readHeader reads the header of a model.
func readHeader(m Model) (header, error) {
	if m.data != nil {
		return parseHeader(bytes.NewReader(m.data), int64(len(m.data)))
	}
	f, err := os.Open(m.path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return header{}, err
	}
	return parseHeader(f, st.Size())
}

func parseHeader(r io.ReaderAt, size int64) (header, error) {
	h := header{metadata: map[string]string{}}
	weights := map[string]bool{} // old files list them among the inputs too
	items := 0
	count := func() error {
		if items++; items > maxHeaderItems {
			return errors.New("too many parts")
		}
		return nil
	}
	err := fields(part{r, 0, size}, func(n int, p part) error {
		switch n {
		case modelMetadata:
			key, value, err := p.entry()
			h.metadata[key] = value
			return errors.Join(err, count())
		case modelGraph:
			return fields(p, func(n int, p part) error {
				switch n {
				case graphInitializer:
					name, err := p.text(tensorName)
					weights[name] = true
					return errors.Join(err, count())
				case graphInput:
					info, err := p.info()
					h.in = append(h.in, info)
					return errors.Join(err, count())
				case graphOutput:
					info, err := p.info()
					h.out = append(h.out, info)
					return errors.Join(err, count())
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && (len(h.in) == 0 || len(h.out) == 0) {
		err = errors.New("no inputs or no outputs")
	}
	var in []ort.InputOutputInfo
	for _, i := range h.in {
		if !weights[i.Name] {
			in = append(in, i)
		}
	}
	h.in = in
	return h, err
}

// A part is a message, a text or (from = to) a number of a protobuf file.
type part struct {
	r        io.ReaderAt
	from, to int64
}

// fields calls f for each field of a message that is itself a message, a text or bytes.
func fields(p part, f func(number int, value part) error) error {
	return p.each(func(number int, value part, _ uint64) error {
		if value.r == nil {
			return nil
		}
		return f(number, value)
	})
}

var errNotONNX = errors.New("damaged, or no ONNX file")

// each calls f for each field of a message: with its bytes, or with its number
// and a part without a reader.
func (p part) each(f func(number int, value part, n uint64) error) error {
	var head [2 * binary.MaxVarintLen64]byte
	for p.from < p.to {
		got, err := p.r.ReadAt(head[:min(int64(len(head)), p.to-p.from)], p.from)
		if err != nil && (!errors.Is(err, io.EOF) || got == 0) {
			return err
		}
		key, n := binary.Uvarint(head[:got])
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29 {
			return errNotONNX
		}
		number, value := int(key>>3), part{}
		var v uint64
		length := int64(n)
		switch key & 7 {
		case 0, 2: // a number, or a length and bytes
			var k int
			if v, k = binary.Uvarint(head[n:got]); k <= 0 {
				return errNotONNX
			}
			length += int64(k)
			if key&7 == 2 {
				if v > uint64(p.to-p.from-length) {
					return errNotONNX
				}
				value = part{p.r, p.from + length, p.from + length + int64(v)}
				length += int64(v)
			}
		case 1:
			length += 8
		case 5:
			length += 4
		default:
			return errNotONNX
		}
		if length > p.to-p.from {
			return errNotONNX
		}
		if err := f(number, value, v); err != nil {
			return err
		}
		p.from += length
	}
	return nil
}

// string reads a part as text.
func (p part) string() (string, error) {
	if p.to-p.from > maxHeaderText {
		return "", fmt.Errorf("a text of %d bytes", p.to-p.from)
	}
	b := make([]byte, p.to-p.from)
	if n, err := p.r.ReadAt(b, p.from); n < len(b) {
		return "", err
	}
	return string(b), nil
}

// text is the text in one of a message's fields; "" where it has none.
func (p part) text(field int) (text string, err error) {
	err = fields(p, func(n int, p part) (err error) {
		if n == field {
			text, err = p.string()
		}
		return err
	})
	return text, err
}

func (p part) entry() (key, value string, err error) {
	if key, err = p.text(entryKey); err == nil {
		value, err = p.text(entryValue)
	}
	return key, value, err
}

// info reads a ValueInfoProto. What is no tensor has no dimensions.
func (p part) info() (info ort.InputOutputInfo, err error) {
	if info.Name, err = p.text(infoName); err != nil {
		return info, err
	}
	return info, fields(p, func(n int, p part) error {
		if n != infoType {
			return nil
		}
		return fields(p, func(n int, p part) error {
			if n != typeTensor {
				return nil
			}
			info.OrtValueType = ort.ONNXTypeTensor
			return p.each(func(n int, p part, v uint64) error {
				switch {
				case n == tensorElem && p.r == nil:
					info.DataType = ort.TensorElementDataType(v) // numbered alike
				case n == tensorShape && p.r != nil:
					return p.shape(&info)
				}
				return nil
			})
		})
	})
}

// shape appends the dimensions; a free one is -1.
func (p part) shape(info *ort.InputOutputInfo) error {
	return fields(p, func(n int, p part) error {
		if n != shapeDim {
			return nil
		}
		dim := int64(-1)
		err := p.each(func(n int, p part, v uint64) error {
			if n == dimValue && p.r == nil {
				dim = int64(v)
			}
			return nil
		})
		if info.Dimensions = append(info.Dimensions, dim); len(info.Dimensions) > 64 {
			return errNotONNX
		}
		return err
	})
}
