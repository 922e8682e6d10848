import type { ArtForm } from '../web/art.ts';

/** One kind of thing: what it is called, how it is drawn, what it costs. */
export interface Kind {
  readonly noun: string;
  readonly form: ArtForm;
  /** Cheapest and dearest, in whole currency units. */
  readonly price: readonly [number, number];
}

export interface CategoryWords {
  readonly slug: string;
  readonly name: string;
  readonly tagline: string;
  readonly materials: readonly string[];
  readonly kinds: readonly Kind[];
  /** Sentences that describe; `{it}` is the noun in lower case. */
  readonly details: readonly string[];
  /** What reviewers remark on, good and bad. */
  readonly praise: readonly string[];
  readonly blame: readonly string[];
}

export const LIMITED_CATEGORY = 'limited';

export const CATEGORIES: readonly CategoryWords[] = [
  {
    slug: 'lighting',
    name: 'Lighting',
    tagline: 'Warm light for long evenings',
    materials: ['Brass', 'Opal Glass', 'Oak', 'Linen', 'Smoked Glass', 'Black Steel', 'Travertine', 'Rattan'],
    kinds: [
      { noun: 'Table Lamp', form: 'table-lamp', price: [59, 289] },
      { noun: 'Reading Lamp', form: 'table-lamp', price: [49, 199] },
      { noun: 'Bedside Lamp', form: 'table-lamp', price: [39, 159] },
      { noun: 'Pendant', form: 'pendant', price: [89, 420] },
      { noun: 'Ceiling Light', form: 'pendant', price: [79, 340] },
    ],
    details: [
      'A dimmable {it} with a warm 2700 K glow and a two-metre fabric cord.',
      'The shade is spun by hand, so that every {it} throws a slightly different light.',
      'Small enough for a shelf, bright enough for a good book.',
    ],
    praise: [
      'the light is warm without being dim',
      'the dimmer is silent',
      'it throws the loveliest pool of light',
      'the cord is long enough',
    ],
    blame: [
      'the cord is shorter than I hoped',
      'the switch feels a little light',
      'it gets warm after an evening',
    ],
  },
  {
    slug: 'tableware',
    name: 'Tableware',
    tagline: 'Thrown, glazed and made to be used',
    materials: [
      'Stoneware',
      'Porcelain',
      'Speckled Clay',
      'Terracotta',
      'Bone China',
      'Celadon',
      'Raku',
      'Salt-Glazed',
    ],
    kinds: [
      { noun: 'Mug', form: 'mug', price: [14, 42] },
      { noun: 'Espresso Cup', form: 'mug', price: [12, 34] },
      { noun: 'Tea Cup', form: 'mug', price: [15, 46] },
      { noun: 'Serving Bowl', form: 'bowl', price: [29, 98] },
      { noun: 'Breakfast Bowl', form: 'bowl', price: [16, 48] },
    ],
    details: [
      'Thrown in small batches and glazed by hand; no two pieces are quite the same.',
      'The {it} is fired twice, so it shrugs off dishwashers and hurried mornings.',
      'Unglazed at the foot, silky at the rim.',
    ],
    praise: [
      'the glaze has real depth',
      'it sits in the hand beautifully',
      'it survived the dishwasher all year',
      'the rim is pleasantly thin',
    ],
    blame: [
      'it is a little heavier than it looks',
      'the colour is greyer than in the picture',
      'mine wobbles a touch',
    ],
  },
  {
    slug: 'kitchen',
    name: 'Kitchen',
    tagline: 'Tools that outlive recipes',
    materials: [
      'Cast Iron',
      'Copper',
      'Carbon Steel',
      'Walnut',
      'Enamel',
      'Olive Wood',
      'Brushed Steel',
      'Beech',
    ],
    kinds: [
      { noun: 'Casserole', form: 'pot', price: [69, 289] },
      { noun: 'Stock Pot', form: 'pot', price: [59, 210] },
      { noun: 'Saucepan', form: 'pot', price: [39, 160] },
      { noun: 'Kettle', form: 'kettle', price: [45, 149] },
      { noun: 'Teapot', form: 'kettle', price: [35, 119] },
    ],
    details: [
      'Heats evenly from rim to rim and works on every hob, induction included.',
      'A {it} to hand down: the handle is riveted, the base will not warp.',
      'Weighs just enough to stay where you put it.',
    ],
    praise: [
      'it heats evenly',
      'nothing sticks once it is seasoned',
      'the handle stays cool',
      'it pours without a drip',
    ],
    blame: [
      'it is heavy when full',
      'the lid rattles at a rolling boil',
      'it needs seasoning before the first use',
    ],
  },
  {
    slug: 'textiles',
    name: 'Textiles',
    tagline: 'Wool, linen and quiet colours',
    materials: [
      'Merino',
      'Washed Linen',
      'Alpaca',
      'Organic Cotton',
      'Bouclé',
      'Lambswool',
      'Waffle Cotton',
      'Mohair',
    ],
    kinds: [
      { noun: 'Cushion', form: 'cushion', price: [29, 89] },
      { noun: 'Floor Cushion', form: 'cushion', price: [49, 139] },
      { noun: 'Throw', form: 'throw', price: [59, 219] },
      { noun: 'Blanket', form: 'throw', price: [69, 249] },
      { noun: 'Bedspread', form: 'throw', price: [89, 289] },
    ],
    details: [
      'Woven at a family mill and washed with stones until it falls just so.',
      'The {it} softens with every wash and keeps its colour in the sun.',
      'Finished with a hand-rolled hem.',
    ],
    praise: [
      'it is soft from the first day',
      'the colour is exactly as pictured',
      'it warms without weighing',
      'the weave is beautifully dense',
    ],
    blame: ['it sheds a little at first', 'it creases more than I expected', 'I wish it came a size larger'],
  },
  {
    slug: 'furniture',
    name: 'Furniture',
    tagline: 'Solid wood, honest joints',
    materials: ['Oak', 'Walnut', 'Ash', 'Beech', 'Cherry', 'Smoked Oak', 'Birch', 'Elm'],
    kinds: [
      { noun: 'Lounge Chair', form: 'chair', price: [249, 890] },
      { noun: 'Dining Chair', form: 'chair', price: [139, 420] },
      { noun: 'Armchair', form: 'chair', price: [299, 990] },
      { noun: 'Side Table', form: 'side-table', price: [99, 349] },
      { noun: 'Stool', form: 'side-table', price: [79, 240] },
    ],
    details: [
      'Mortise and tenon, not a screw in sight, and oiled rather than lacquered.',
      'The {it} arrives in one piece and is meant to stay in one piece for decades.',
      'Made to order from timber grown within two hundred kilometres.',
    ],
    praise: [
      'the joints are flawless',
      'it is far more comfortable than it looks',
      'the grain is gorgeous',
      'it arrived fully built',
    ],
    blame: ['delivery took three weeks', 'the felt pads came loose', 'one leg needed a small shim'],
  },
  {
    slug: 'desk',
    name: 'Desk & Paper',
    tagline: 'For thinking with your hands',
    materials: ['Clothbound', 'Leather', 'Recycled', 'Cork', 'Brass', 'Japanese Paper', 'Anodised', 'Kraft'],
    kinds: [
      { noun: 'Notebook', form: 'notebook', price: [9, 34] },
      { noun: 'Sketchbook', form: 'notebook', price: [14, 46] },
      { noun: 'Planner', form: 'notebook', price: [16, 44] },
      { noun: 'Pencil Cup', form: 'pencil-cup', price: [15, 49] },
      { noun: 'Desk Caddy', form: 'pencil-cup', price: [22, 69] },
    ],
    details: [
      'Opens flat and stays open; the paper takes fountain ink without feathering.',
      'A {it} that earns its place on the desk and is hard to leave in the drawer.',
      'Bound with thread, so that pages stay where you wrote them.',
    ],
    praise: [
      'the paper takes ink perfectly',
      'it opens completely flat',
      'it ages gracefully',
      'my desk is finally tidy',
    ],
    blame: ['the corners bruise in a bag', 'I would like one more colour', 'the ribbon frayed'],
  },
  {
    slug: 'audio',
    name: 'Audio',
    tagline: 'Listen closely',
    materials: ['Walnut', 'Graphite', 'Sand', 'Aluminium', 'Midnight', 'Terrazzo', 'Ivory', 'Forest'],
    kinds: [
      { noun: 'Headphones', form: 'headphones', price: [89, 399] },
      { noun: 'Studio Headphones', form: 'headphones', price: [129, 459] },
      { noun: 'Bookshelf Speaker', form: 'speaker', price: [119, 520] },
      { noun: 'Portable Speaker', form: 'speaker', price: [59, 229] },
      { noun: 'Kitchen Radio', form: 'speaker', price: [79, 249] },
    ],
    details: [
      'Tuned by ear in a room with curtains and books, not only in a chamber.',
      'Every part of the {it} can be replaced with one screwdriver.',
      'Thirty hours between charges, and a real volume knob.',
    ],
    praise: [
      'voices sound present and natural',
      'the battery lasts for days',
      'the knob is a joy to turn',
      'the bass is deep but tidy',
    ],
    blame: ['pairing took two tries', 'it is a bit shy at low volume', 'the case is bulky'],
  },
  {
    slug: 'garden',
    name: 'Plants & Garden',
    tagline: 'Green, indoors and out',
    materials: ['Terracotta', 'Zinc', 'Fibrestone', 'Glazed', 'Copper', 'Basalt', 'Recycled', 'Cedar'],
    kinds: [
      { noun: 'Planter', form: 'planter', price: [19, 89] },
      { noun: 'Herb Pot', form: 'planter', price: [12, 39] },
      { noun: 'Balcony Planter', form: 'planter', price: [29, 119] },
      { noun: 'Watering Can', form: 'watering-can', price: [24, 79] },
      { noun: 'Mister', form: 'watering-can', price: [15, 45] },
    ],
    details: [
      'Frost-proof down to minus fifteen, with a saucer that actually catches the water.',
      'The {it} breathes, so that roots stay cool and leaves stay green.',
      'Balanced to carry full, even one-handed.',
    ],
    praise: [
      'my basil has never looked better',
      'it survived the winter outside',
      'the saucer really fits',
      'it is balanced even when full',
    ],
    blame: [
      'it is paler when dry',
      'the drainage hole is small',
      'it scratched the sill before I added felt',
    ],
  },
  {
    slug: 'travel',
    name: 'Travel',
    tagline: 'Pack light, go far',
    materials: [
      'Waxed Canvas',
      'Ripstop',
      'Saddle Leather',
      'Recycled Nylon',
      'Wool Felt',
      'Steel',
      'Titanium',
      'Cork',
    ],
    kinds: [
      { noun: 'Backpack', form: 'backpack', price: [79, 269] },
      { noun: 'Daypack', form: 'backpack', price: [59, 179] },
      { noun: 'Weekender', form: 'backpack', price: [99, 320] },
      { noun: 'Flask', form: 'flask', price: [24, 64] },
      { noun: 'Water Bottle', form: 'flask', price: [19, 54] },
    ],
    details: [
      'Sewn with bonded thread and repaired free of charge for as long as you own it.',
      'The {it} has exactly the pockets you need, and none that you have to remember.',
      'Shrugs off rain, dust and overhead lockers.',
    ],
    praise: [
      'it carries far more than it looks',
      'it kept everything dry in a downpour',
      'the zips run like butter',
      'it has been round the world with me',
    ],
    blame: ['the strap needs breaking in', 'there is no pocket for a pen', 'it was stiff in the first weeks'],
  },
  {
    slug: 'toys',
    name: 'Toys & Games',
    tagline: 'Wooden, washable, wonderful',
    materials: ['Maple', 'Beech', 'Rainbow', 'Natural', 'Pastel', 'Linden', 'Rubberwood', 'Organic'],
    kinds: [
      { noun: 'Building Blocks', form: 'blocks', price: [19, 79] },
      { noun: 'Stacking Tower', form: 'blocks', price: [16, 49] },
      { noun: 'Shape Puzzle', form: 'blocks', price: [15, 44] },
      { noun: 'Pull-Along Whale', form: 'whale', price: [19, 54] },
      { noun: 'Bath Whale', form: 'whale', price: [9, 28] },
    ],
    details: [
      'Finished with beeswax and plant colours that are safe to chew on.',
      'A {it} without batteries, screens or instructions.',
      'Rounded where it matters, sturdy where it counts.',
    ],
    praise: [
      'it is played with every single day',
      'the colours are lovely',
      'it survived two toddlers',
      'the edges are perfectly smooth',
    ],
    blame: ['the box is too small to tidy it away', 'one piece had a rough edge', 'the paint faded a little'],
  },
];

export const SERIES: readonly string[] =
  `Halden Alder Solveig Mira Tofte Nara Linnea Bruno Ostra Fjell Kaia Vesper
  Lund Soren Marlow Isla Koto Ravn Elin Havn Juno Arden Birk Cleo Dune Ember Faro Greta Hollis Inka Jura Kelda
  Lark Moss Niko Orla Pico Quill Runa Sage Tilda Umbra Vanja Willa Yara Zephyr`.split(/\s+/);

export const FIRST_NAMES: readonly string[] =
  `Ada Amir Anna Ben Bianca Carlos Chen Clara Daniel Diego Elena Emma
  Erik Fatima Felix Freya George Grace Hana Hugo Ines Ivan Jack Jana Jonas Julia Kenji Lara Leo Lina Liam Luca
  Maja Marco Maria Mateo Mei Mila Mohamed Nadia Nina Noah Nora Oliver Olga Omar Oscar Paula Pedro Priya Rosa Ruth
  Sam Sara Sofia Stefan Tara Theo Tom Uma Vera Victor Yuki Zoe`.split(/\s+/);

export const TITLES: Readonly<Record<number, readonly string[]>> = {
  5: [
    'Simply lovely',
    'Better than hoped',
    'Bought a second one',
    'A keeper',
    'Worth every cent',
    'Could not be happier',
    'My favourite thing',
  ],
  4: [
    'Very good',
    'Nearly perfect',
    'Solid and pretty',
    'Glad I bought it',
    'Good value',
    'Does what it should',
  ],
  3: ['Fine, not more', 'Good with a catch', 'It is all right', 'Mixed feelings', 'Decent'],
  2: ['Expected more', 'Not quite there', 'A little let down'],
  1: ['Sent it back', 'Not for me', 'Disappointed'],
};

export const OPENINGS: readonly string[] = [
  'We have had it for {n} months now and',
  'Bought it as a present and ended up keeping it:',
  'After {n} weeks of daily use I can say that',
  'I looked at a dozen others before this one;',
  'It arrived within {n} days, well packed, and',
  'A friend has the same one, so I knew what to expect:',
  'Second purchase from this shop:',
  'I was unsure at first, but',
];

export const CLOSINGS: Readonly<Record<'happy' | 'mixed' | 'unhappy', readonly string[]>> = {
  happy: [
    'Would buy again.',
    'Highly recommended.',
    'It makes me smile every day.',
    'Everyone asks where it is from.',
    'Exactly as described.',
  ],
  mixed: [
    'All in all a fair buy.',
    'For the price it is fine.',
    'I am keeping it.',
    'Good, with that one wish.',
  ],
  unhappy: ['Returning it was easy, at least.', 'I hoped for more.', 'Support was kind about it.'],
};
