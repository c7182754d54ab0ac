package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/plimsoll/plimsoll/pkg/api/v1alpha1"
)

// manifests are the pods, for people to read: the arms differ in nothing else.
//
//go:embed pods/*.yaml
var manifests embed.FS

// namespace holds all pods of the demo.
const namespace = "plimsoll-demo"

// podTimeout bounds the wait for a pod to run or to be gone.
const podTimeout = 60 * time.Second

// manifestOf is the file of an arm's batch pod. Batch alone runs it as an arm does.
func manifestOf(arm armName) string {
	switch arm {
	case batchAlone, suppressed:
		arm = bestEffort
	case idleOnly, agentStopped, onlineAbsent: // the same batch: what differs is around it
		arm = plimsoll
	}
	return "batch-" + string(arm)
}

// loadPod reads a manifest. The words that stand for quantities are replaced, and env is given to the
// container, where $(NAME) in its arguments refers to it.
func loadPod(manifest string, words, env map[string]string) (*corev1.Pod, error) {
	text, err := manifests.ReadFile("pods/" + manifest + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", manifest, err)
	}
	var pairs []string
	for word, value := range words {
		pairs = append(pairs, word, value)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(strings.NewReplacer(pairs...).Replace(string(text))), &pod); err != nil {
		return nil, fmt.Errorf("decoding the manifest of %s: %w", manifest, err)
	}
	for name, value := range env {
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].Env = append(pod.Spec.Containers[i].Env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	return &pod, nil
}

// podClient starts and removes the demo's pods.
type podClient struct{ client kubernetes.Interface }

// makeNamespace makes the demo's namespace anew, without what an earlier demo left in it.
func (p podClient) makeNamespace(ctx context.Context) error {
	if err := p.removeNamespace(ctx); err != nil {
		return err
	}
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, made, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making namespace %s: %w", namespace, err)
	}
	return p.waitServiceAccount(ctx)
}

// waitServiceAccount waits for the account that pods get: without it they are refused.
func (p podClient) waitServiceAccount(ctx context.Context) error {
	deadline := time.Now().Add(podTimeout)
	for {
		_, err := p.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) || time.Now().After(deadline) {
			return fmt.Errorf("waiting for the service account of namespace %s: %w", namespace, err)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// removeNamespace removes the demo's namespace and waits until it is gone.
func (p podClient) removeNamespace(ctx context.Context) error {
	deadline := time.Now().Add(podTimeout)
	for {
		err := p.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing namespace %s: %w", namespace, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("removing namespace %s: it is still there after %s", namespace, podTimeout)
		}
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// start creates a pod and waits until it runs.
func (p podClient) start(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	created, err := p.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("creating pod %s: %w", pod.Name, err)
	}
	last := created
	running, err := p.await(ctx, created.Name, created.ResourceVersion, func(event watch.Event, pod *corev1.Pod) (bool, error) {
		last = pod
		switch {
		case event.Type == watch.Deleted:
			return false, errors.New("it was deleted")
		case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
			return false, fmt.Errorf("it ended: %s", pod.Status.Message)
		}
		return pod.Status.Phase == corev1.PodRunning && len(pod.Status.ContainerStatuses) > 0, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for pod %s to run: %w%s", created.Name, err, hindrance(last))
	}
	return running, nil
}

// hindrance is what a pod's conditions say against it, in brackets; empty where they say nothing.
func hindrance(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Message != "" {
			return fmt.Sprintf(" (%s: %s)", c.Reason, c.Message)
		}
	}
	return ""
}

// askRealtime has a pod ask for real-time priority, or ask no more.
func (p podClient) askRealtime(ctx context.Context, name string, ask bool) error {
	value := any(nil)
	if ask {
		value = "true"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.RealtimeAnnotation: value}}})
	if err != nil {
		return fmt.Errorf("encoding an annotation: %w", err)
	}
	if _, err := p.client.CoreV1().Pods(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("annotating pod %s: %w", name, err)
	}
	return nil
}

// remove deletes a pod and waits until the kubelet has let go of it.
func (p podClient) remove(ctx context.Context, pod *corev1.Pod) error {
	err := p.client.CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting pod %s: %w", pod.Name, err)
	}
	_, err = p.await(ctx, pod.Name, pod.ResourceVersion, func(event watch.Event, _ *corev1.Pod) (bool, error) {
		return event.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for pod %s to be gone: %w", pod.Name, err)
	}
	return nil
}

// await watches one pod until done says so. It watches rather than polls, to leave the CPU alone.
func (p podClient) await(ctx context.Context, name, version string, done func(watch.Event, *corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	watcher, err := p.client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(), ResourceVersion: version,
	})
	if err != nil {
		return nil, err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case event, open := <-watcher.ResultChan():
			if !open {
				return nil, errors.New("the watch ended early")
			}
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				return nil, fmt.Errorf("watching: %w", apierrors.FromObject(event.Object))
			}
			finished, err := done(event, pod)
			if err != nil || finished {
				return pod, err
			}
		}
	}
}

// pause waits, or ends with the context.
func pause(ctx context.Context, length time.Duration) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
