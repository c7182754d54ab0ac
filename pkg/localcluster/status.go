package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is an instance's state, in the shape of `status -o json`.
type Status struct {
	// State is "up", "degraded" (something is not ready) or "down" (no supervisor).
	State            string            `json:"state"`
	Dir              string            `json:"dir"`
	BinDir           string            `json:"binDir"`
	Kubeconfig       string            `json:"kubeconfig"`
	Server           string            `json:"server"`
	ControlPlaneOnly bool              `json:"controlPlaneOnly"`
	CgroupMode       CgroupMode        `json:"cgroupMode,omitempty"`
	CgroupRoot       string            `json:"cgroupRoot,omitempty"`
	ContainerdSocket string            `json:"containerdSocket,omitempty"`
	NRISocket        string            `json:"nriSocket,omitempty"`
	NodeIP           string            `json:"nodeIP,omitempty"`
	Ports            Ports             `json:"ports"`
	Nodes            NodeCounts        `json:"nodes"`
	Components       []ComponentStatus `json:"components"`
}

// NodeCounts counts the cluster's nodes. Known is false when the API server could not be asked.
type NodeCounts struct {
	Known     bool   `json:"known"`
	Name      string `json:"name,omitempty"`
	Ready     bool   `json:"ready"`
	Simulated int    `json:"simulated"`
	// SimulatedReady is how many of them are ready.
	SimulatedReady int `json:"simulatedReady"`
}

// ComponentStatus is one process's state. PID is 0 while it does not run.
type ComponentStatus struct {
	Name          string  `json:"name"`
	PID           int     `json:"pid"`
	Ready         bool    `json:"ready"`
	Restarts      int     `json:"restarts"`
	UptimeSeconds float64 `json:"uptimeSeconds"`
	// StartSeconds is how long the latest start took until ready.
	StartSeconds float64 `json:"startSeconds"`
	LastExit     string  `json:"lastExit,omitempty"`
}

// ErrNoInstance means that a directory holds none.
var ErrNoInstance = errors.New("no instance")

// Open finds the instance in dir ("" is the default), whether all of it runs or not.
func Open(dir string) (*Cluster, error) {
	if dir == "" {
		dir = DefaultDir()
	}
	dir, err := canonicalDir(dir)
	if err != nil {
		return nil, err
	}
	inst, err := loadInstance(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: `plimsoll-local up` makes one, --dir names another place", ErrNoInstance, dir)
	}
	if err != nil {
		return nil, err
	}
	return &Cluster{inst: inst}, nil
}

// Dir is where the instance lives.
func (c *Cluster) Dir() string { return c.inst.Dir }

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return c.inst.layout().Kubeconfig() }

// CgroupRoot is the group that holds everything, absolute in each hierarchy; pods are in CgroupRoot/kubepods.
func (c *Cluster) CgroupRoot() string { return c.inst.CgroupRoot }

// NodeName is the real node's name.
func (c *Cluster) NodeName() string { return c.inst.NodeName }

// Layout names the instance's files.
func (c *Cluster) Layout() Layout { return c.inst.layout() }

// Status asks the supervisor and the API server.
func (c *Cluster) Status(ctx context.Context) (*Status, error) {
	i, l := c.inst, c.inst.layout()
	st := &Status{
		Dir: i.Dir, BinDir: i.BinDir, Kubeconfig: l.Kubeconfig(), Server: i.server(), ControlPlaneOnly: i.ControlPlaneOnly, Ports: i.Ports,
		Components: []ComponentStatus{},
	}
	if !i.ControlPlaneOnly {
		st.CgroupMode, st.CgroupRoot = i.CgroupMode, i.CgroupRoot
		st.ContainerdSocket, st.NRISocket, st.NodeIP = l.ContainerdSocket(), l.NRISocket(), i.Network.NodeIP().String()
		st.Nodes.Name = i.NodeName
	}
	cs, err := componentStatuses(ctx, l)
	if errors.Is(err, errNoSupervisor) {
		st.State = "down"
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	st.Components = cs
	st.State = "up"
	for _, comp := range cs {
		if !comp.Ready {
			st.State = "degraded"
		}
	}
	c.countNodes(ctx, st)
	if !i.ControlPlaneOnly && !st.Nodes.Ready {
		st.State = "degraded"
	}
	return st, nil
}

func (c *Cluster) countNodes(ctx context.Context, st *Status) {
	client, err := c.inst.client()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return // Known stays false; the API server's own line says the rest
	}
	st.Nodes.Known = true
	for n := range nodes.Items {
		node := &nodes.Items[n]
		ready := nodeReady(node)
		if node.Labels[SimulatedLabel] == "true" {
			st.Nodes.Simulated++
			if ready {
				st.Nodes.SimulatedReady++
			}
		} else if node.Name == c.inst.NodeName {
			st.Nodes.Ready = ready
		}
	}
}

// WriteText prints a status for people.
func (st *Status) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "state\t%s\nserver\t%s\nkubeconfig\t%s\ndir\t%s\n", st.State, st.Server, st.Kubeconfig, st.Dir)
	if !st.ControlPlaneOnly {
		fmt.Fprintf(w, "cgroups\t%s\ncgroup root\t%s\ncontainerd\t%s\nNRI\t%s\n", st.CgroupMode, st.CgroupRoot, st.ContainerdSocket, st.NRISocket)
	}
	fmt.Fprintf(w, "ports\t%s\n", st.Ports.text(st.ControlPlaneOnly))
	if st.Nodes.Known {
		if st.Nodes.Name != "" {
			fmt.Fprintf(w, "node\t%s (%s) %s\n", st.Nodes.Name, st.NodeIP, readyText(st.Nodes.Ready))
		}
		if st.Nodes.Simulated > 0 {
			fmt.Fprintf(w, "simulated nodes\t%d of %d ready\n", st.Nodes.SimulatedReady, st.Nodes.Simulated)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	if len(st.Components) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nCOMPONENT\tPID\tREADY\tUPTIME\tRESTARTS\tSTARTED IN\tLAST EXIT")
	for _, c := range st.Components {
		up := time.Duration(c.UptimeSeconds * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%.1fs\t%s\n", c.Name, c.PID, readyText(c.Ready), up, c.Restarts, c.StartSeconds, c.LastExit)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}

func readyText(ready bool) string {
	if ready {
		return "ready"
	}
	return "not ready"
}

// Restart ends a component with SIGTERM and waits until it is ready again.
func (c *Cluster) Restart(ctx context.Context, component string) error {
	before, err := c.component(ctx, component)
	if err != nil {
		return err
	}
	if _, err := control(ctx, c.inst.layout(), http.MethodPost, "/restart/"+component); err != nil {
		return fmt.Errorf("restarting %s: %w", component, err)
	}
	return c.waitRestarted(ctx, component, before.PID)
}

// Kill ends a component with SIGKILL, as an accident would, and waits until it is ready again. It is for tests.
func (c *Cluster) Kill(ctx context.Context, component string) error {
	before, err := c.component(ctx, component)
	if err != nil {
		return err
	}
	if before.PID == 0 {
		return fmt.Errorf("killing %s: it is not running", component)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing %s: %w", component, err)
	}
	return c.waitRestarted(ctx, component, before.PID)
}

func (c *Cluster) component(ctx context.Context, name string) (*ComponentStatus, error) {
	cs, err := componentStatuses(ctx, c.inst.layout())
	if err != nil {
		return nil, err
	}
	for n := range cs {
		if cs[n].Name == name {
			return &cs[n], nil
		}
	}
	return nil, fmt.Errorf("no component is called %q", name)
}

func (c *Cluster) waitRestarted(ctx context.Context, name string, oldPID int) error {
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		now, err := c.component(ctx, name)
		return err == nil && now.PID != oldPID && now.Ready, err
	})
	if err != nil {
		return fmt.Errorf("waiting for %s to be ready again: %w", name, err)
	}
	return nil
}

// Components lists the names that Logs and Restart take.
func (c *Cluster) Components() ([]string, error) {
	files, err := filepath.Glob(c.inst.layout().Log("*"))
	if err != nil {
		return nil, fmt.Errorf("listing logs: %w", err)
	}
	var names []string
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			base := filepath.Base(f)
			names = append(names, base[:len(base)-len(".log")])
		}
	}
	return names, nil
}
