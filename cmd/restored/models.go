package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/fetch"
	"restored/restore"
)

func newModels() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List, fetch, add and verify restoring networks",
		Long: `A restoring network is an ONNX file. One is part of the binary; others lie as NAME.onnx
in the folder of models (paths.models) and are chosen by name: restore.model, --model.`,
	}
	return group(cmd, newModelsList(), newModelsInfo(), newModelsPull(), newModelsVerify(), newModelsAdd())
}

// The states of a model on this machine.
const (
	modelBuiltIn  = "built in"
	modelHere     = "here"
	modelPart     = "partly fetched"
	modelAbsent   = "not here"
	modelUnagreed = "here, licence not accepted"
)

// A modelRow is what the list says of a model.
type modelRow struct {
	Name     string `json:"name"`
	Family   string `json:"family,omitempty"`
	Size     int    `json:"size,omitempty"`  // side of the face in pixels
	Bytes    int64  `json:"bytes,omitempty"` // of the file
	State    string `json:"state"`
	Checksum string `json:"checksum"` // verified, unverified, none
	Licence  string `json:"licence,omitempty"`
	Terms    string `json:"terms,omitempty"`
	Path     string `json:"path,omitempty"`
}

func newModelsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the models that are known and those that are here",
		Long: `Lists the models that restored knows by name and the further files in the folder of
models. The checksums in the registry are those that others have published; they are
called unverified until a download of ours has matched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			folder, err := modelsFolder(cfg)
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "restored: %v\n", err)
			}
			rows := listModels(folder)
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(rows)
			}
			return printModels(cmd.OutOrStdout(), rows, cfg.Restore.Model)
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// modelsFolder is where models lie: the configured folder, made or not, or the one
// beside the binary.
func modelsFolder(cfg *config.Config) (string, error) {
	if cfg.Paths.Models != "" {
		return cfg.Paths.Models, nil
	}
	return findModels("")
}

// listModels lists the registry and the folder.
func listModels(folder string) []modelRow {
	var rows []modelRow
	for _, e := range restore.Registry() {
		rows = append(rows, rowOf(e, folder))
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.onnx"))
	if err != nil || folder == "" {
		return rows // a folder whose name is a bad pattern has no models
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".onnx")
		if slices.ContainsFunc(rows, func(r modelRow) bool { return r.Name == name }) {
			continue
		}
		r := modelRow{Name: name, State: modelHere, Checksum: "none", Path: f}
		if info, err := os.Stat(f); err == nil {
			r.Bytes = info.Size()
		}
		fill(&r, f)
		rows = append(rows, r)
	}
	return rows
}

// rowOf says where a known model stands here.
func rowOf(e restore.Entry, folder string) modelRow {
	r := modelRow{
		Name: e.Name, Family: e.Family, Size: e.Size, Bytes: e.Bytes, State: modelAbsent,
		Checksum: "unverified", Licence: e.Licence, Terms: e.Terms,
	}
	if e.Verified {
		r.Checksum = "verified"
	}
	if e.BuiltIn {
		r.State, r.Checksum = modelBuiltIn, "none"
		return r
	}
	path := filepath.Join(folder, e.Name+".onnx")
	if folder == "" {
		return r
	}
	if info, err := os.Stat(path); err == nil {
		r.State, r.Path, r.Bytes = modelHere, path, info.Size()
		fill(&r, path)
	} else if part, err := os.Stat(fetch.PartPath(path)); err == nil && part.Size() > 0 {
		r.State = modelPart
		if e.Bytes > 0 {
			r.State = fmt.Sprintf("%s, %d %%", modelPart, 100*part.Size()/e.Bytes)
		}
	}
	return r
}

// fill adds what the file beside a model says.
func fill(r *modelRow, path string) {
	data, err := os.ReadFile(restore.SidecarPath(path))
	if err != nil {
		if r.Terms != "" {
			r.State = modelUnagreed
		}
		return
	}
	side, err := restore.ParseSidecar(data)
	if err != nil {
		r.State = "here, but " + restore.SidecarPath(path) + " is damaged"
		return
	}
	if side.Family != "" {
		r.Family = side.Family
	}
	if side.Size > 0 {
		r.Size = side.Size
	}
	if side.Licence != "" {
		r.Licence = side.Licence
	}
	if r.Terms == "" {
		r.Terms = side.Terms
	}
	if known, ok := restore.Known(r.Name); ok && side.SHA256 == known.SHA256 {
		r.Checksum = "verified"
	}
	if r.Terms != "" && side.Accepted.IsZero() {
		r.State = modelUnagreed
	}
}

func printModels(w io.Writer, rows []modelRow, chosen string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  NAME\tFAMILY\tSIDE\tMB\tSTATE\tCHECKSUM\tLICENCE")
	for _, r := range rows {
		mark := " "
		if r.Name == chosen {
			mark = "*"
		}
		terms := ""
		if r.Terms != "" {
			terms = " (to be accepted)"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\t%s\t%s\t%s%s\n", mark, printable(r.Name), orDash(r.Family),
			orDash(number(int64(r.Size))), orDash(number(r.Bytes/1e6)), printable(r.State), r.Checksum, orDash(r.Licence), terms)
	}
	return table.Flush()
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return printable(s)
}

func newModelsInfo() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info [NAME]",
		Short: "Say all that is known of a model",
		Long: `Prints what the registry knows of a model and, where its file is here, what the file
itself says: inputs, outputs, and how it is fed. NAME is a known name, a file in the folder of
models, or a path that ends in .onnx; without it the configured model is meant.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return modelInfo(cmd.OutOrStdout(), cfg, modelArg(cfg, args), asJSON)
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// modelArg is the model that an argument or the configuration names.
func modelArg(cfg *config.Config, args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return cfg.Restore.Model
}

// completeModels completes the names of models on the command line.
func completeModels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return modelNames(), cobra.ShellCompDirectiveDefault
}

// modelNames are the known names, each with its title for the shell to show.
func modelNames() []string {
	var out []string
	for _, e := range restore.Registry() {
		out = append(out, cobra.CompletionWithDesc(e.Name, e.Title))
	}
	return out
}

func modelInfo(w io.Writer, cfg *config.Config, name string, asJSON bool) error {
	entry, known := restore.Known(name)
	folder, folderErr := modelsFolder(cfg)
	model, err := restore.FindModel(name, folder)
	switch {
	case err == nil:
	case known && errors.Is(err, os.ErrNotExist):
	case folderErr != nil && errors.Is(err, os.ErrNotExist):
		return setupErr(errors.Join(err, folderErr))
	default:
		return setupErr(err)
	}
	here := err == nil
	out := struct {
		Known *restore.Entry       `json:"known,omitempty"`
		Path  string               `json:"path,omitempty"`
		Hash  string               `json:"sha256,omitempty"`
		Says  *restore.Description `json:"file,omitempty"`
	}{}
	if known {
		out.Known = &entry
	}
	if here {
		d, err := describe(cfg, model)
		if err != nil {
			return err
		}
		out.Path, out.Hash, out.Says = model.Path(), model.SHA256, &d
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	if known {
		printEntry(w, entry)
	}
	if !here {
		fmt.Fprintf(w, "state      not here; `restored models pull %s` fetches it\n", name)
		return nil
	}
	fmt.Fprintf(w, "state      %s\n", map[bool]string{true: "part of the binary", false: "here: " + printable(model.Path())}[model.Path() == ""])
	fmt.Fprintf(w, "sha256     %s\n", model.SHA256)
	return printDescription(w, *out.Says)
}

// describe loads ONNX Runtime for as long as it takes to read a model.
func describe(cfg *config.Config, model restore.Model) (restore.Description, error) {
	a, err := findAssets(cfg.Paths.Libraries, cfg.Paths.Models)
	if err != nil {
		return restore.Description{}, setupErr(err)
	}
	if err := restore.Startup(a.onnxruntime); err != nil {
		return restore.Description{}, setupErr(err)
	}
	d, err := restore.Describe(model)
	return d, errors.Join(err, restore.Shutdown())
}

func printEntry(w io.Writer, e restore.Entry) {
	fmt.Fprintf(w, "%s: %s\n", e.Name, e.Title)
	fmt.Fprintf(w, "family     %s, faces of %d×%d\n", e.Family, e.Size, e.Size)
	fmt.Fprintf(w, "licence    %s\n", e.Licence)
	if e.LicenceURL != "" {
		fmt.Fprintf(w, "           %s\n", e.LicenceURL)
	}
	if e.Terms != "" {
		fmt.Fprintf(w, "terms      %s\n", e.Terms)
	}
	for i, u := range e.URLs {
		fmt.Fprintf(w, "%-10s %s\n", map[bool]string{true: "from"}[i == 0], u)
	}
	if e.SHA256 != "" {
		fmt.Fprintf(w, "published  sha256 %s (%s)\n", e.SHA256, map[bool]string{true: "verified", false: "unverified"}[e.Verified])
	}
}

func printDescription(w io.Writer, d restore.Description) error {
	for i, p := range d.Inputs {
		fmt.Fprintf(w, "%-10s %s: %s %v\n", map[bool]string{true: "inputs"}[i == 0], printable(p.Name), p.Type, p.Shape)
	}
	for i, p := range d.Outputs {
		fmt.Fprintf(w, "%-10s %s: %s %v\n", map[bool]string{true: "outputs"}[i == 0], printable(p.Name), p.Type, p.Shape)
		if i == 3 && len(d.Outputs) > 4 {
			fmt.Fprintf(w, "           and %d more\n", len(d.Outputs)-4)
			break
		}
	}
	if d.Spec == nil {
		_, err := fmt.Fprintf(w, "spec       can't be told: %s\n", printable(d.Unknown))
		return err
	}
	s := d.Spec
	_, err := fmt.Fprintf(w, "spec       from %s: %s, template %s, side %d, range %v, %s, %s → %s\n",
		d.Origin, printable(s.Family), s.Template, s.Size, s.Range, s.ColourOrder, printable(s.ImageInput), printable(s.Output))
	for _, e := range s.ExtraInputs {
		fmt.Fprintf(w, "           %s is fed with %v\n", printable(e.Name), e.Default)
	}
	return err
}
