package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/agent"
	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// Problem is one fault of a file.
type Problem struct {
	File string `json:"file"`
	// Object is Kind namespace/name of the document; its number where it has none.
	Object string `json:"object"`
	// Field is the path of the field, empty where the problem is of no single one.
	Field string `json:"field,omitempty"`
	// Text says what is wrong, and what is allowed.
	Text string `json:"problem"`
}

// String is the problem on one line.
func (p Problem) String() string {
	parts := []string{p.File, p.Object, p.Field, p.Text}
	if p.Field == "" {
		parts = []string{p.File, p.Object, p.Text}
	}
	return strings.Join(parts, ": ")
}

// Result is what came of checking files.
type Result struct {
	// Checked is how many documents were looked at, Unknown the kinds of those that could not be judged.
	Checked  int       `json:"checked"`
	Unknown  []string  `json:"unknown,omitempty"`
	Problems []Problem `json:"problems"`
}

// File checks the documents of a file of YAML or JSON, and adds what it finds.
func (r *Result) File(file string, content []byte) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.add(file, fmt.Sprintf("document %d", number), fmt.Errorf("reading it: %w", err))
			return
		}
		if strings.TrimSpace(stripComments(document)) == "" {
			continue
		}
		r.document(file, number, document)
	}
}

// head is what every object has.
type head struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
}

// object names a document in a problem.
func (h head) object(number int) string {
	name := h.Metadata.Name
	if name == "" && h.Metadata.GenerateName != "" {
		name = h.Metadata.GenerateName + "*"
	}
	if name != "" && h.Metadata.Namespace != "" {
		name = h.Metadata.Namespace + "/" + name
	}
	switch {
	case h.Kind == "":
		return fmt.Sprintf("document %d", number)
	case name == "":
		return h.Kind
	default:
		return h.Kind + " " + name
	}
}

func (r *Result) document(file string, number int, document []byte) {
	r.Checked++
	var h head
	if err := yaml.Unmarshal(document, &h); err != nil {
		r.add(file, fmt.Sprintf("document %d", number), fmt.Errorf("it is no YAML or JSON object: %w", err))
		return
	}
	object := h.object(number)
	if h.Kind == "" || h.APIVersion == "" {
		r.add(file, object, errors.New("kind and apiVersion must be set: they say what the document is"))
		return
	}
	r.kind(file, object, h, document)
}

// kind checks a document of a kind.
func (r *Result) kind(file, object string, h head, document []byte) {
	switch {
	case h.Kind == v1alpha1.KindAgentConfiguration:
		r.add(file, object, agentConfiguration(document))
	case h.Kind == v1alpha1.KindLoadAwareArgs && strings.HasPrefix(h.APIVersion, v1alpha1.GroupName):
		_, err := v1alpha1.ParseLoadAwareArgs(document, field.NewPath("args"))
		r.add(file, object, err)
	case h.Kind == "KubeSchedulerConfiguration":
		r.add(file, object, schedulerConfiguration(h.APIVersion, document))
	case strings.HasPrefix(h.APIVersion, "kustomize.config.k8s.io/"):
		return // a folder with one is built and its result checked
	default:
		r.manifest(file, object, h, document)
	}
}

func agentConfiguration(document []byte) error {
	c, err := v1alpha1.ParseAgentConfiguration(document)
	if err != nil {
		return err
	}
	return agent.CheckConfiguration(c)
}

// add takes an error apart into its problems.
func (r *Result) add(file, object string, err error) {
	for _, e := range flatten(err) {
		p := Problem{File: file, Object: object, Text: e.Error()}
		if f, ok := e.(*field.Error); ok { //nolint:errorlint // flatten has unwrapped it
			p.Field, p.Text = f.Field, f.ErrorBody()
		}
		r.Problems = append(r.Problems, p)
	}
}

// flatten is the single errors that an error is made of. What was said around a joined error goes with each.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // joined errors are looked for, level by level
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	if aggregate, ok := err.(utilerrors.Aggregate); ok { //nolint:errorlint // as above
		var all []error
		for _, e := range aggregate.Errors() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	inner := errors.Unwrap(err)
	if parts := flatten(inner); len(parts) > 1 {
		prefix := strings.TrimSuffix(err.Error(), inner.Error())
		for i := range parts {
			parts[i] = fmt.Errorf("%s%w", prefix, parts[i])
		}
		return parts
	}
	return []error{err}
}

// stripComments leaves of a document what says something.
func stripComments(document []byte) string {
	var kept []string
	for line := range strings.SplitSeq(string(document), "\n") {
		if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "#") && t != "---" {
			kept = append(kept, t)
		}
	}
	return strings.Join(kept, "\n")
}
