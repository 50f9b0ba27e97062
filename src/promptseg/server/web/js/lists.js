// Lists that differ from others in one place; the others stay as they were.

export function replacedAt(list, index, value) {
  return list.map((each, place) => (place === index ? value : each));
}

export function removedAt(list, index) {
  return list.filter((_, place) => place !== index);
}

export function movedTo(list, index, to) {
  const left = removedAt(list, index);
  return [...left.slice(0, to), list[index], ...left.slice(to)];
}
