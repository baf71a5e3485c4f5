package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/media"
	"restored/restore"
)

func newModelsAdd() *cobra.Command {
	var a adder
	var span string
	var inputs []string
	cmd := &cobra.Command{
		Use:   "add FILE.onnx",
		Short: "Add a model of your own to the folder of models",
		Long: `Reads an ONNX file, tells from it how it is fed (its Spec: size, template, range, colour
order, inputs, output), and copies it to the folder of models with the Spec beside it, as
NAME.json. What a file doesn't tell is assumed and said, and can be given by a flag; what
can't be assumed is asked for. Files whose weights lie in a second file can't be added.
"restored models verify NAME" shows whether it is right.

A file that the registry knows by its checksum keeps its licence, which must be accepted.`,
		Example: "  restored models add --dry-run mine.onnx\n  restored models add --name mine --range 0,1 --input w=0.7 export.onnx",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if err := a.parse(span, inputs); err != nil {
				return err
			}
			a.stdin, a.stdout, a.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return a.run(cfg, args[0])
		},
	}
	addSettings(cmd)
	f := cmd.Flags()
	f.StringVar(&a.name, "name", "", "`name` of the model; else the file's")
	f.BoolVar(&a.dry, "dry-run", false, "only print what would be added")
	f.BoolVar(&a.force, "force", false, "replace a model of that name")
	f.BoolVar(&a.accept, "accept-licence", false, "accept the licence that is shown")
	f.StringVar(&a.licence, "licence", "", "the `licence` of the file, to be kept with it")
	f.IntVar(&a.hints.Size, "size", 0, "side of its face in `pixels`, where the file leaves it free")
	f.StringVar(&a.hints.Template, "template", "", "`landmarks` that its faces are aligned to: ffhq_512 or arcface_128")
	f.StringVar(&span, "range", "", "`black,white` in its input and output, like -1,1")
	f.StringVar(&a.hints.ColourOrder, "colour-order", "", "`order` of its channels: RGB or BGR")
	f.StringVar(&a.hints.ImageInput, "image-input", "", "`name` of the input that takes the face")
	f.StringVar(&a.hints.Output, "output", "", "`name` of the output that gives the face")
	f.StringArrayVar(&inputs, "input", nil, "`NAME=VALUE`: what a further input is fed with; may be repeated")
	return cmd
}

// An adder is one `restored models add`.
type adder struct {
	name, licence      string
	dry, force, accept bool
	hints              restore.Hints
	stdin              io.Reader
	stdout, stderr     io.Writer
}

// parse reads the flags that are more than text.
func (a *adder) parse(span string, inputs []string) error {
	if span != "" {
		black, white, ok := strings.Cut(span, ",")
		for i, text := range []string{black, white} {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 32)
			if err != nil || !ok {
				return usageErr("--range %s: want two numbers, like -1,1", span)
			}
			a.hints.Range[i] = float32(v)
		}
	}
	a.hints.Inputs = map[string]float64{}
	for _, in := range inputs {
		name, text, ok := strings.Cut(in, "=")
		v, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil {
			return usageErr("--input %s: want NAME=NUMBER", in)
		}
		a.hints.Inputs[name] = v
	}
	return nil
}

func (a *adder) run(cfg *config.Config, file string) error {
	if !strings.HasSuffix(file, ".onnx") {
		return usageErr("%s isn't named .onnx", file)
	}
	if a.name == "" {
		a.name = strings.ToLower(strings.TrimSuffix(filepath.Base(file), ".onnx"))
	}
	if err := restore.CheckName(a.name); err != nil {
		return usageErr("%w; say another --name", err)
	}
	if a.name == restore.DefaultModel || a.name == restore.SmallModel {
		return usageErr("%s is the built-in model's name: say another --name", a.name)
	}
	folder, err := modelsFolder(cfg)
	if err != nil {
		return setupErr(err)
	}
	model, err := restore.FindModel(file, folder)
	if err != nil {
		return usageErr("%w", err)
	}
	side, err := a.sidecar(cfg, model)
	if err != nil {
		return err
	}
	target := filepath.Join(folder, a.name+".onnx")
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(side); err != nil || a.dry {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return setupErr(notOurs(err))
	}
	if err := a.copy(file, target, model.SHA256); err != nil {
		return err
	}
	if err := writeSidecar(target, side); err != nil {
		return setupErr(notOurs(err))
	}
	fmt.Fprintf(a.stderr, "added %s\nTry it: `restored models verify %s`\n", target, a.name)
	return nil
}

// sidecar tells what stands beside the model: its Spec and its licence.
func (a *adder) sidecar(cfg *config.Config, model restore.Model) (restore.Sidecar, error) {
	d, err := describe(cfg, model)
	if err != nil {
		return restore.Sidecar{}, err
	}
	if err := printDescription(a.stderr, d); err != nil {
		return restore.Sidecar{}, err
	}
	side := restore.Sidecar{}
	switch {
	case d.Origin == restore.FromMetadata && a.hinted():
		return side, usageErr("%s says itself how it is fed: leave out the flags that say it", model.Path())
	case d.Spec == nil || a.hinted():
		spec, notes, err := restore.Guess(d, a.hints)
		if err != nil {
			return side, fmt.Errorf("%s can't be added: %w", model.Path(), err)
		}
		for _, n := range notes {
			fmt.Fprintf(a.stderr, "assumed    %s\n", n)
		}
		side.Spec = spec
	case d.Origin != restore.FromMetadata:
		side.Spec = *d.Spec
	default: // the file tells all itself
		side.Family, side.Licence = d.Spec.Family, d.Spec.Licence
	}
	side.Name, side.SHA256 = a.name, model.SHA256
	if a.licence != "" {
		side.Licence = a.licence
	}
	return side, a.agree(&side)
}

// hinted says whether the user has said how the file is fed.
func (a *adder) hinted() bool {
	h := a.hints
	return h.Size != 0 || h.Template != "" || h.Range != [2]float32{} || h.ColourOrder != "" || h.ImageInput != "" || h.Output != "" || len(h.Inputs) > 0
}

// agree shows the licence of a file that the registry knows, and asks for what
// it takes.
func (a *adder) agree(side *restore.Sidecar) error {
	for _, e := range restore.Registry() {
		if e.SHA256 != side.SHA256 || e.SHA256 == "" {
			continue
		}
		side.Family, side.Licence, side.Terms, side.URL = e.Family, e.Licence, e.Terms, e.URLs[0]
		fmt.Fprintf(a.stderr, "This is %s: %s\nLicence: %s, %s\n%s\n", e.Name, e.Title, e.Licence, e.LicenceURL, e.Terms)
	}
	if side.Terms == "" || a.dry {
		return nil
	}
	if err := acceptTerms(a.accept, a.stdin, a.stderr); err != nil {
		return err
	}
	side.Accepted = time.Now().UTC().Truncate(time.Second)
	return nil
}

// copy puts the file into the folder of models, unless it lies there already.
func (a *adder) copy(file, target, sum string) error {
	there, err := hashFile(target)
	switch {
	case err == nil && there == sum:
		return nil
	case err == nil && !a.force:
		return usageErr("%s is there and is another file: say another --name, or --force to replace it", target)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return setupErr(err)
	}
	src, err := os.Open(file)
	if err != nil {
		return err
	}
	defer src.Close()
	// The old sidecar would be of the old file.
	if err := os.Remove(restore.SidecarPath(target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return setupErr(notOurs(err))
	}
	err = media.WriteFile(target, nil, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
	return notOurs(err)
}
