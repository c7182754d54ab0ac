package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// Client reads NodeUtilization objects. It leaves out what no command shows: an object of 250 pods is
// 124 kB of JSON, and going over it once without building it is most of what a refresh costs.
type Client struct {
	http     *http.Client
	host     string
	nodes    metadata.Interface
	selector string
}

// NewClient reads the nodes whose labels match the selector; all for an empty one.
func NewClient(config *rest.Config, selector string) (c *Client, err error) {
	c = &Client{selector: selector}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	c.host = base.String()
	if c.nodes, err = metadata.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return c, nil
}

// object is a NodeUtilization without its pods, workloads and capabilities.
type object struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status status `json:"status"`
}

type status struct {
	ObservedTime metav1.MicroTime   `json:"observedTime"`
	Capacity     v1alpha1.Resources `json:"capacity"`
	Node         v1alpha1.Resources `json:"node"`
	Classes      []struct {
		Class       v1alpha1.Class     `json:"class"`
		MilliCPU    int64              `json:"milliCPU"`
		MemoryBytes int64              `json:"memoryBytes"`
		Pressure    *v1alpha1.Pressure `json:"pressure"`
	} `json:"classes"`
	Lendable      *v1alpha1.Lendable        `json:"lendable"`
	Harm          *v1alpha1.HarmTotals      `json:"harm"`
	CgroupMode    string                    `json:"cgroupMode"`
	KernelVersion string                    `json:"kernelVersion"`
	Strategies    []v1alpha1.StrategyStatus `json:"strategies"`
	Changes       []v1alpha1.ChangeStatus   `json:"changes"`
	Conditions    []metav1.Condition        `json:"conditions"`
}

func (o *object) utilization() v1alpha1.NodeUtilization {
	s := &o.Status
	u := v1alpha1.NodeUtilization{Status: v1alpha1.NodeUtilizationStatus{
		ObservedTime: s.ObservedTime, Capacity: s.Capacity, Node: s.Node, Lendable: s.Lendable, Harm: s.Harm, CgroupMode: s.CgroupMode,
		KernelVersion: s.KernelVersion, Strategies: s.Strategies, Changes: s.Changes, Conditions: s.Conditions,
		Classes: make([]v1alpha1.ClassUtilization, len(s.Classes)),
	}}
	u.Name = o.Metadata.Name
	for i, c := range s.Classes {
		u.Status.Classes[i] = v1alpha1.ClassUtilization{Class: c.Class, Resources: v1alpha1.Resources{MilliCPU: c.MilliCPU, MemoryBytes: c.MemoryBytes}, Pressure: c.Pressure}
	}
	return u
}

// List reads all objects, and the version that a watch goes on from.
func (c *Client) List(ctx context.Context) (objects []v1alpha1.NodeUtilization, version string, err error) {
	body, err := c.get(ctx, "?resourceVersion=0") // from the API server's cache, which is as new as a watch is
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	var l struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []object `json:"items"`
	}
	// The API server repeats no name in an object; looking for that costs a fifth of the time.
	if err := json.UnmarshalRead(body, &l, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, "", fmt.Errorf("decoding the list of NodeUtilizations: %w", err)
	}
	for i := range l.Items {
		objects = append(objects, l.Items[i].utilization())
	}
	return objects, l.Metadata.ResourceVersion, nil
}

// ErrExpired ends a watch that must begin again with a list.
var ErrExpired = errors.New("the watch has expired")

// Watch calls changed for each object that was written, and deleted with false, until the watch ends.
func (c *Client) Watch(ctx context.Context, version string, changed func(u v1alpha1.NodeUtilization, exists bool)) error {
	body, err := c.get(ctx, "?watch=true&allowWatchBookmarks=false&resourceVersion="+version)
	if err != nil {
		return err
	}
	defer body.Close()
	in := jsontext.NewDecoder(body, jsontext.AllowDuplicateNames(true))
	for {
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		if err := json.UnmarshalDecode(in, &event); errors.Is(err, io.EOF) {
			return ErrExpired
		} else if err != nil {
			return fmt.Errorf("watching NodeUtilizations: %w", err)
		}
		if event.Type == "ERROR" {
			return ErrExpired
		}
		changed(event.Object.utilization(), event.Type != "DELETED")
	}
}

// get reads the collection of NodeUtilizations.
func (c *Client) get(ctx context.Context, query string) (io.ReadCloser, error) {
	r := v1alpha1.NodeUtilizationResource()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/apis/%s/%s/%s%s", c.host, r.Group, r.Version, r.Resource, query), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading NodeUtilizations: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // only for the message
	remedy := ""
	switch response.StatusCode {
	case http.StatusNotFound:
		remedy = ": Plimsoll is not installed in this cluster: kubectl apply -k manifests/overlays/observe"
	case http.StatusForbidden, http.StatusUnauthorized:
		remedy = ": you need the right to get, list and watch nodeutilizations.plimsoll.dev"
	case http.StatusGone:
		return nil, ErrExpired
	}
	return nil, fmt.Errorf("reading NodeUtilizations: the API server answers %s: %s%s", response.Status, text, remedy)
}

// Selected is the names of the nodes whose labels match, nil for all.
func (c *Client) Selected(ctx context.Context) (sets.Set[string], error) {
	if c.selector == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	list, err := c.nodes.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, metav1.ListOptions{LabelSelector: c.selector})
	if apierrors.IsBadRequest(err) {
		return nil, fmt.Errorf("--selector %q: %w", c.selector, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the labels of nodes: %w", err)
	}
	names := sets.New[string]()
	for i := range list.Items {
		names.Insert(list.Items[i].Name)
	}
	return names, nil
}
