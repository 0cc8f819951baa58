// Elements that are made once and written into many times.

export function element<K extends keyof HTMLElementTagNameMap>(name: K, attributes: Record<string, string> = {}, ...inside: Node[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/** Writes a text there, when it is another than before: even the same text would be laid out anew. */
export function textOf(parent: Element): (words: string) => void {
  const node = parent.appendChild(document.createTextNode(""));
  let last = "";
  return (words) => {
    if (words !== last) node.data = last = words;
  };
}

/** Sets the classes, when they are others than before: each time styles would be sought anew. */
export function classOf(target: Element): (name: string) => void {
  let last = target.className;
  return (name) => {
    if (name !== last) target.className = last = name;
  };
}
