package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// access says which cluster.
type access struct{ kubeconfig, context string }

// accessFlags adds the flags that kubectl has for the same.
func accessFlags(c *cobra.Command) *access {
	a := &access{}
	c.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file; without it KUBECONFIG, or ~/.kube/config")
	c.Flags().StringVar(&a.context, "context", "", "context of the kubeconfig")
	return a
}

// config is how the API server is reached.
func (a *access) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w: give a file with --kubeconfig, or set KUBECONFIG", err)
	}
	c.UserAgent = "plimsoll"
	c.QPS = -1
	return c, nil
}

// clientset is for what has typed clients.
func (a *access) clientset() (kubernetes.Interface, error) {
	config, err := a.config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
